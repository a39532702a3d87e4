"""A webhook of the tests: what it answers to a path is what the file of that name in `answers` says, read anew for each
question. Each question is a line of `asked`."""
import base64, http.server, json, os, ssl, sys, threading

home = sys.argv[1]
writing = threading.Lock()
barriers = {}


def admitted(review, told):
    request = review["request"]
    response = {"uid": request["uid"], "allowed": True, **told.get("response", {})}
    if "patch" in told and told.get("unless", "\0") not in json.dumps(request["object"]):
        patch = json.dumps(told["patch"]).encode()
        response.update(patch=base64.b64encode(patch).decode(), patchType="JSONPatch")
    return response


def converted(review, told):
    request = review["request"]
    wanted, objects = request["desiredAPIVersion"], request["objects"]
    named = [it["metadata"]["name"] for it in objects]
    if told.get("fails") in named:
        result = {"status": "Failure", "message": "cannot convert " + told["fails"]}
        return {"uid": request["uid"], "result": result}
    for object in objects:
        spec, object["apiVersion"] = object["spec"], wanted
        if wanted.endswith("/v2"):
            spec["host"], spec["port"] = spec.pop("address").split(":")
        else:
            spec["address"] = spec.pop("host") + ":" + spec.pop("port")
        object["metadata"].update(told.get("metadata", {}))
    return {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects[told.get("less", 0):]}


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, _, query = self.path.partition("?")
        with open(home + "/answers" + path) as told:
            told = json.load(told)
        with writing, open(home + "/asked", "a") as asked:
            asked.write(json.dumps({"path": path, "query": query, "review": review}) + "\n")
        if "together" in told:
            with writing:
                barrier = barriers.setdefault(path, threading.Barrier(told["together"]))
            barrier.wait()
        if told.get("never"):
            threading.Event().wait()
        if told.get("closes"):
            self.close_connection = True
            return
        if "raw" in told:
            answer = told["raw"]
        else:
            make = converted if review["kind"] == "ConversionReview" else admitted
            head = {"apiVersion": review["apiVersion"], "kind": review["kind"]}
            answer = json.dumps({**head, "response": make(review, told), **told.get("review", {})})
        answer = answer.encode()
        self.send_response(told.get("code", 200))
        for name, value in told.get("headers", {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def finish_request(self, request, address):
        # The handshake is the connection's own affair.
        super().finish_request(secrets.wrap_socket(request, server_side=True), address)

    def handle_error(self, request, address):
        pass


secrets = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
secrets.load_cert_chain(home + "/hook.crt", home + "/hook.key")
listening = Server(("0.0.0.0", 9443), Hook)
open(home + "/asked", "a").close()
with open(home + "/hook.pid", "w") as pid:
    pid.write(str(os.getpid()))
listening.serve_forever()
