"""A tour of a cluster by the Python client: tour.py IMAGE, where IMAGE has busybox's commands.

It prints a step before it takes it, and ends at the first thing that is not as it should be, with a sentence. The cluster
is the current context of $KUBECONFIG. The namespace "python" is left as the last step says, for whoever looks afterwards.
"""

import sys

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import portforward, stream

NAMESPACE = "python"
POD = "page"
# How long, in seconds, a watch or an answer may take.
LIMIT = 90


def main(image):
    config.load_kube_config()
    core = client.CoreV1Api()
    with_namespace(core)
    create(core, image)
    follow(core)
    conflict(core)
    run(core)
    forward(core)
    read_logs(core)
    apply()
    delete(core)


def with_namespace(core):
    step("create a namespace, and wait for its service account")
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    for event in changes(core.list_namespaced_service_account, field_selector="metadata.name=default"):
        if event["type"] == "ADDED":
            return
    missing("the account `default` did not come")


def create(core, image):
    step("create a pod from types")
    page = client.V1Container(
        name="c",
        image=image,
        command=["sh", "-c", "echo one; echo two; echo ahoy > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
        readiness_probe=client.V1Probe(
            http_get=client.V1HTTPGetAction(path="/", port=8080), period_seconds=1
        ),
    )
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name=POD, labels={"app": POD}),
        spec=client.V1PodSpec(containers=[page], termination_grace_period_seconds=0),
    )
    made = core.create_namespaced_pod(NAMESPACE, pod)
    expect(made.metadata.uid and made.spec.restart_policy == "Always", "the answer has no defaults")


def follow(core):
    step("watch it until it is ready")
    for event in changes(core.list_namespaced_pod, label_selector=f"app={POD}"):
        conditions = event["object"].status.conditions or []
        if any(c.type == "Ready" and c.status == "True" for c in conditions):
            return
    missing("the pod did not become ready")


def conflict(core):
    step("replace an old revision: a conflict")
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "told"}, "data": {"n": "0"}})
    old = core.read_namespaced_config_map("told", NAMESPACE)
    core.patch_namespaced_config_map("told", NAMESPACE, {"data": {"n": "1"}})
    try:
        core.replace_namespaced_config_map("told", NAMESPACE, old)
    except ApiException as e:
        expect(e.status == 409, f"an old revision was answered with {e.status}")
        return
    missing("an old revision replaced a newer one")


def run(core):
    step("exec: output, errors, input and an exit code")
    session = stream(
        core.connect_get_namespaced_pod_exec,
        POD,
        NAMESPACE,
        command=["sh", "-c", "read line; echo got $line; echo and this >&2; exit 3"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    session.write_stdin("a line\n")
    session.run_forever(timeout=LIMIT)
    said, complained = session.read_stdout(), session.read_stderr()
    expect(said == "got a line\n", f"the output was {said!r}")
    expect(complained == "and this\n", f"the errors were {complained!r}")
    expect(session.returncode == 3, f"the exit code was {session.returncode}")


def forward(core):
    step("port-forward: a page, by a socket that leads into the pod")
    ports = portforward(core.connect_get_namespaced_pod_portforward, POD, NAMESPACE, ports="8080")
    socket = ports.socket(8080)
    socket.settimeout(LIMIT)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := socket.recv(4096):
        answer += piece
    expect(answer.endswith(b"ahoy\n"), f"the page was {answer!r}")
    expect(ports.error(8080) is None, f"the port says {ports.error(8080)}")
    ports.close()


def read_logs(core):
    step("logs: all, the end, and as they come")
    said = core.read_namespaced_pod_log(POD, NAMESPACE)
    expect(said == "one\ntwo\n", f"the log is {said!r}")
    last = core.read_namespaced_pod_log(POD, NAMESPACE, tail_lines=1, timestamps=True)
    expect(last.startswith("20") and last.endswith(" two\n"), f"its last line is {last!r}")
    lines = watch.Watch()
    for line in lines.stream(core.read_namespaced_pod_log, POD, NAMESPACE, _request_timeout=LIMIT):
        if line == "two":
            lines.stop()
            return
    missing("the followed log ended before its second line")


def apply():
    step("apply at the server by the dynamic client, which learns kinds from discovery")
    maps = DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "told"}, "data": {"m": "2"}}
    applied = maps.server_side_apply(body=body, name="told", namespace=NAMESPACE, field_manager="tour")
    expect(applied.data.to_dict() == {"n": "1", "m": "2"}, f"it has {applied.data}")


def delete(core):
    step("delete the pod, and see it go")
    seen = core.list_namespaced_pod(NAMESPACE).metadata.resource_version
    core.delete_namespaced_pod(POD, NAMESPACE)
    for event in changes(core.list_namespaced_pod, resource_version=seen):
        if event["type"] == "DELETED":
            return
    missing("the pod did not go")


def changes(of, **narrowed):
    """What a watch in the namespace tells, until the limit."""
    return watch.Watch().stream(of, NAMESPACE, timeout_seconds=LIMIT, **narrowed)


def step(what):
    print(what, flush=True)


def expect(held, otherwise):
    if not held:
        missing(otherwise)


def missing(what):
    sys.exit(f"tour.py: {what}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tour.py IMAGE")
    main(sys.argv[1])
