"""An aggregated server of the tests. How it behaves stands in the file `mode`, read anew for each request; each request
is a line of `asked`, with the name in the certificate that came with it."""
import http.server, json, os, ssl, sys, threading

home = sys.argv[1]
writing = threading.Lock()
HERE = "/apis/sample.example.com/v1"


def resource(name, kind="Flunder", namespaced=True):
    verbs = ["create", "delete", "get", "list", "watch"]
    return {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs}


def discovery(group_version="sample.example.com/v1", resources=None):
    resources = resources or [resource("flunders"), resource("flunders/pipe", "Pipe"), resource("echoes", "Echo")]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in dict({"Content-Type": "application/json"}, **dict(headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        path, _, query = self.path.partition("?")
        shown = self.connection.getpeercert()
        name = dict(it[0] for it in shown["subject"]).get("commonName") if shown else None
        heads = sorted([key.lower(), value] for key, value in self.headers.items())
        asked = {"method": self.command, "path": path, "query": query, "body": body, "by": name, "headers": heads}
        with writing, open(home + "/asked", "a") as log:
            log.write(json.dumps(asked) + "\n")
        with open(home + "/mode") as mode:
            mode = mode.read()
        if mode == "never" or path.endswith("/never"):
            threading.Event().wait()
        elif mode == "redirect" or path.endswith("/redirect"):
            self.answer(302, b"", {"Location": "https://192.0.2.10:6443/api/v1/namespaces/kube-system/secrets"})
        elif mode == "broken":
            self.answer(500, b"boom", {"Content-Type": "text/plain"})
        elif mode == "html":
            self.answer(200, b"<html>hello</html>", {"Content-Type": "text/html"})
        elif mode == "closes":
            self.close_connection = True
        elif path == HERE and mode == "other group":
            self.answer(200, discovery("apps/v1"))
        elif path == HERE and mode == "huge":
            self.answer(200, discovery(resources=[resource("a%d" % at) for at in range(20000)]))
        elif path == HERE and mode == "endless":
            self.endless()
        elif path == HERE:
            self.answer(200, discovery())
        elif path == "/openapi/v3":
            self.answer(200, {"paths": {HERE[1:]: {"serverRelativeURL": "/openapi/v3" + HERE + "?hash=AB12"}}})
        elif path == "/openapi/v3" + HERE:
            self.answer(200, {"openapi": "3.0.0", "info": {"title": "sample"}, "paths": {}})
        elif path.endswith("/pipe") and self.headers.get("Upgrade"):
            self.pipe()
        elif "watch=1" in query:
            self.watch()
        elif path.startswith(HERE + "/"):
            self.answer(200, {"kind": "Echo", "apiVersion": "sample.example.com/v1", "metadata": {"name": "e"}, **asked})
        else:
            self.answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def begin(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def watch(self):
        self.begin()
        self.piece(b'{"type":"ADDED","object":{"n":1}}\n')
        # Until the reader has shown that the first message came while the stream goes on.
        while not os.path.exists(home + "/seen"):
            threading.Event().wait(0.05)
        self.piece(b'{"type":"ADDED","object":{"n":2}}\n')
        self.piece(b"")

    def endless(self):
        self.begin()
        try:
            while True:
                self.piece(b" " * 65536)
        except OSError:
            pass

    def pipe(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        for line in self.rfile:
            self.wfile.write(line.upper())
            self.wfile.flush()
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def log_message(self, *words):
        pass


class Listening(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def finish_request(self, request, address):
        super().finish_request(secrets.wrap_socket(request, server_side=True), address)

    def handle_error(self, request, address):
        pass


secrets = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
secrets.load_cert_chain(home + "/server.crt", home + "/server.key")
secrets.load_verify_locations(home + "/front.crt")
secrets.verify_mode = ssl.CERT_OPTIONAL
listening = Listening(("0.0.0.0", 9443), Server)
open(home + "/asked", "a").close()
with open(home + "/server.pid", "w") as pid:
    pid.write(str(os.getpid()))
listening.serve_forever()
