# The words that a case may use. The runner sets KUBECTL, KUBECONFIG (its namespace is $N), SERVER, WORK.
# $N   the case's own namespace; also a good part of a cluster-wide name: it is unique to this run
# k    kubectl
# raw METHOD PATH [CONTENT-TYPE [BODY [ACCEPT]]]   status, content type and body of one request;
#      T=token asks with that token instead of the administrator's certificate, H="Name: value" adds a header
# pod NAME [EXTRA]   a pod that no scheduler takes: it stays as it was made, on any cluster
# held NAME [CONTAINER [SPEC [META]]]   the same, with further fields of its container c, its spec and its metadata
# guard MODE=VALUE...   labels the case's namespace for Pod Security
# boats [SPEC-EXTRA [SCHEMA [VERSION-EXTRA]]]   a custom resource definition in a group of the case's own
# boat NAME [SPEC]   an object of it;  ready boats ...   creates the definition and waits until it is served
# quiet CMD...       runs it without a word: for the making of what a case needs
set -u
export HOME=$WORK BUSYBOX=registry.k8s.io/busybox:test # tests/kit/image makes it
cd "$WORK"
trap 'kill $(jobs -p) 2> /dev/null' EXIT
k() { timeout 30 "$KUBECTL" "$@"; }
quiet() { "$@" > quiet.out 2>&1 || { echo "PREPARATION FAILED: $*"; cat quiet.out; }; }
raw() {
  local who=(--cert "$CREDENTIALS/crt" --key "$CREDENTIALS/key")
  [ -n "${T:-}" ] && who=(-H "Authorization: Bearer $T")
  : > body
  curl -s -g --path-as-is -m 20 -A differential --cacert "$CREDENTIALS/ca" "${who[@]}" -X "$1" ${3:+-H "Content-Type: $3"} ${5:+-H "Accept: $5"} ${H:+-H "$H"} \
    ${4:+--data-binary "$4"} -o body -w '%{http_code} %{content_type}\n' "$SERVER$2"
  cat body; echo
}
pod() {
  cat <<Y
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec: {schedulerName: nobody, containers: [{name: c, image: registry.k8s.io/pause:3.10.2}]${2:+, $2}}
Y
}
held() {
  cat <<Y
apiVersion: v1
kind: Pod
metadata: {name: $1${4:+, $4}}
spec: {schedulerName: nobody, containers: [{name: c, image: registry.k8s.io/pause:3.10.2${2:+, $2}}]${3:+, $3}}
Y
}
guard() { quiet k label ns "$N" --overwrite "${@/#/pod-security.kubernetes.io/}"; }
export B=boats.$N.example.com # the full name of its kind: other cases have boats too
SCHEMA='{type: object, properties: {
      spec: {type: object, required: [sails], properties: {
        sails: {type: integer, minimum: 1, maximum: 9},
        name: {type: string, pattern: "^[A-Z]", maxLength: 8},
        colour: {type: string, enum: [red, blue], default: red},
        crew: {type: array, maxItems: 3, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id],
          items: {type: object, required: [id], properties: {id: {type: integer}, role: {type: string}}}},
        tags: {type: array, x-kubernetes-list-type: set, items: {type: string}},
        any: {type: object, x-kubernetes-preserve-unknown-fields: true},
        port: {x-kubernetes-int-or-string: true}}},
      status: {type: object, properties: {afloat: {type: boolean}, replicas: {type: integer}, selector: {type: string}}}}}'
boats() {
  cat <<Y
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: $B}
spec:
  group: $N.example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt-$N], categories: [fleet-$N]}
  versions:
  - {name: v1, served: true, storage: true${3:+, $3}, schema: {openAPIV3Schema: ${2:-$SCHEMA}}}
${1:+  $1}
Y
}
boat() {
  local spec=${2:-}
  cat <<Y
apiVersion: $N.example.com/v1
kind: Boat
metadata: {name: $1}
spec: ${spec:-{sails: 3\}}
Y
}
ready() {
  "$@" | quiet k create -f -
  quiet k wait --for=condition=Established "crd/$B" --timeout=20s
}
