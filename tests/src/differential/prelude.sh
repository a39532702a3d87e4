# The words that a case may use. The runner sets KUBECTL, KUBECONFIG (its namespace is $N), SERVER, WORK.
# $N   the case's own namespace; also a good part of a cluster-wide name: it is unique to this run
# k    kubectl
# raw METHOD PATH [CONTENT-TYPE [BODY [ACCEPT]]]   status, content type and body of one request;
#      T=token asks with that token instead of the administrator's certificate, H="Name: value" adds a header
# wire METHOD PATH ACCEPT [CONTENT-TYPE [BODY]]   the same for answers in protobuf, shown as text;  headers NAME...   those
#      of the last answer
# pod NAME [EXTRA]   a pod that no scheduler takes: it stays as it was made, on any cluster
# held NAME [CONTAINER [SPEC [META]]]   the same, with further fields of its container c, its spec and its metadata
# job NAME [SPEC [POD-SPEC [META [CONTAINER]]]]   a Job whose pods no scheduler takes; several make a stream
# cron NAME SCHEDULE [SPEC [JOB-SPEC [META]]]   a CronJob of such
# pods SELECTOR   their names, by their completion index and then their age
# ends PHASE POD...   says in the name of a node that those pods have ended
# guard MODE=VALUE...   labels the case's namespace for Pod Security
# boats [SPEC-EXTRA [SCHEMA [VERSION-EXTRA]]]   a custom resource definition in a group of the case's own
# boat NAME [SPEC]   an object of it;  ready boats ...   creates the definition and waits until it is served
# rules EXPR...   validation rules, one each;  says EXPR...   rules that fail with that message expression
# ruled RULES [PROPERTIES]   a definition with rules on the spec of its boats, whose properties are HULL or those given
# refused RULES [PROPERTIES]   what is said of it;  judged RULES SPEC [PROPERTIES]   what is said of a boat under them
# ask NAME SIGNER USAGES [SPEC [SUBJECT [NAMES]]]   a request for a certificate, for a fresh key (NAME.key, NAME.csr)
# entrust VERB SIGNER USER   lets a user approve, sign or attest (role and binding $N-s)
# pcr NAME SPEC [KEY]   a PodCertificateRequest for a fresh key
# trust NAME SPEC   a ClusterTrustBundle;  anchor FILE   makes a certificate that others can be trusted by
# quoted FILE   its text as a JSON string;  signed NAME DAYS   NAME.csr signed by a fresh authority (NAME.crt)
# sts NAME [SPEC [TEMPLATE-SPEC]]   a stateful set of two pods that no scheduler takes;  ds NAME ... the like, for nodes of the case's own
# fake NAME [EXTRA]  a node of the case's own that nobody serves
# alive POD...       says of pods that they run and are ready, as a node would
# imaged POD IMAGE   waits until a pod, made anew perhaps, has that image
# settled REF COUNT-FIELD=N...   waits for numbers in the status of what a controller works on
# at USER[+GROUP,...] METHOD PATH [BODY]   the code, and which flow schema and level the answer says it was matched to
# told               further headers and the text of the answer to that
# level [RESPONSE]   a priority level without shares, called $N;  flow NAME PRECEDENCE SORT SUBJECT...   the schema $N-NAME to it
# flows NAME...      waits until those schemas have their level
# review KIND SPEC [TOP]   asks a review (sar, ssar, lsar, ssrr, tr, who), with further fields at the top
# as METHOD PATH HEADER...   status and body of a request with several headers, as the administrator or $T
# vap NAME SPEC [BINDING [RULES]]   a ValidatingAdmissionPolicy for the config maps (or what RULES mean) of the case's namespace, with
#      a binding that denies;  mutate NAME SPEC [BINDING [RULES]]   a mutating one
# active [mutating] FILE   creates the policies of a file, and waits until they are asked
# openapi PATH       a document of OpenAPI v3: each operation and each definition, with the digest of what is said of it but
#      sentences, the order of `required`, `x-kubernetes-unions`, granular maps and the kinds of DeleteOptions and WatchEvent
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
  : > body; : > head
  curl -s -g --path-as-is -m 20 -A differential --cacert "$CREDENTIALS/ca" "${who[@]}" -X "$1" ${3:+-H "Content-Type: $3"} ${5:+-H "Accept: $5"} ${H:+-H "$H"} \
    ${4:+--data-binary "$4"} -D head -o body -w '%{http_code} %{content_type}\n' "$SERVER$2"
  cat body; echo
}
wire() {
  H=${H:-} raw "$1" "$2" "${4:-}" "${5:-}" "$3" > wire.out
  { head -1 wire.out; "$DIFFERENTIAL" wire < body; } > shown
  cat shown
}
headers() { local name; for name; do tr -d '\r' < head | grep -i "^$name:" | sort || echo "no $name"; done; }
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
ask() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "${5:-/CN=someone}" \
    ${6:+-addext "subjectAltName=$6"} -out "$1.csr" 2> /dev/null
  cat <<Y
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $1}
spec: {signerName: "$2", usages: [$3], request: $(base64 -w0 "$1.csr")${4:+, $4}}
Y
}
quoted() { printf '"%s"' "$(sed 's/$/\\n/' "$1" | tr -d '\n')"; }
anchor() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout anchor.key -subj /CN=ca -out "$1" 2> /dev/null; }
signed() {
  anchor anchor.crt
  openssl x509 -req -in "$1.csr" -CA anchor.crt -CAkey anchor.key -CAcreateserial -days "$2" -out "$1.crt" 2> /dev/null
}
pcr() {
  openssl req -new -newkey ${3:-ec -pkeyopt ec_paramgen_curve:prime256v1} -nodes -keyout "$1.key" -subj / -out "$1.csr" 2> /dev/null
  cat <<Y
apiVersion: certificates.k8s.io/v1
kind: PodCertificateRequest
metadata: {name: $1, namespace: $N}
spec: {$2, stubPKCS10Request: $(openssl req -in "$1.csr" -outform DER | base64 -w0)}
Y
}
entrust() {
  quiet k create -f - <<Y
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: $N-s}
rules: [{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [$1], resourceNames: ["$2"]}]
Y
  quiet k create clusterrolebinding "$N-s" --clusterrole="$N-s" --user="$3"
}
trust() {
  cat <<Y
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: "$1"}
spec: $2
Y
}
guard() { quiet k label ns "$N" --overwrite "${@/#/pod-security.kubernetes.io/}"; }
sts() {
  cat <<Y
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: $1}
spec:
  serviceName: svc
  selector: {matchLabels: {app: $1}}
  template: {metadata: {labels: {app: $1}}, spec: {schedulerName: nobody, automountServiceAccountToken: false, terminationGracePeriodSeconds: 0, containers: [{name: c, image: x}]${3:+, $3}}}
  replicas: 2
${2:+  $2}
Y
}
ds() {
  cat <<Y
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: $1}
spec:
  selector: {matchLabels: {app: $1}}
  template: {metadata: {labels: {app: $1}}, spec: {schedulerName: nobody, automountServiceAccountToken: false, nodeSelector: {case: $N}, tolerations: [{operator: Exists}], containers: [{name: c, image: x}]${3:+, $3}}}
${2:+  $2}
Y
}
fake() {
  quiet k create -f - <<Y
apiVersion: v1
kind: Node
metadata: {name: $1, labels: {case: $N}}
${2:-}
Y
}
alive() {
  local p
  for p; do
    quiet k patch pod "$p" --subresource=status -p '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}'
  done
}
imaged() {
  for _ in $(seq 100); do [ "$(k get pod "$1" -o 'jsonpath={.spec.containers[0].image}' 2> /dev/null)" = "$2" ] && break; done
  k get pod "$1" -o 'jsonpath={.metadata.name} {.spec.containers[0].image}{"\n"}'
}
settled() {
  local ref=$1 pair; shift
  for pair; do quiet k wait "--for=jsonpath={.status.${pair%=*}}=${pair#*=}" "$ref" --timeout=20s; done
}
within() { echo "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $N}}, resourceRules: [${1:-{operations: [\"*\"], apiGroups: [\"\"], apiVersions: [\"*\"], resources: [configmaps]\}}]}"; }
vap() {
  cat <<Y
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: "$N-$1"}
spec:
  matchConstraints: $(within "${4:-}")
$(sed 's/^/  /' <<< "$2")
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: "$N-$1"}
spec: {policyName: "$N-$1", ${3:-validationActions: [Deny]}}
Y
}
mutate() {
  local rules='{operations: [CREATE, UPDATE], apiGroups: [""], apiVersions: ["*"], resources: [configmaps]}'
  cat <<Y
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: "$N-$1"}
spec:
  matchConstraints: $(within "${4:-$rules}")
$(sed 's/^/  /' <<< "$2")
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: "$N-$1"}
spec: {policyName: "$N-$1"${3:+, $3}}
Y
}
active() { # what comes later in the same watches is known last; a service account is what no case has policies for
  local at='{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [serviceaccounts]}' sort=validatingadmissionpolicy
  local marks=(vap 0 'validations: [{expression: "object.metadata.name != '"'marker'"'", message: marked}]' '' "$at")
  if [ "$1" = mutating ]; then
    shift; sort=mutatingadmissionpolicy
    marks=(mutate 0 $'reinvocationPolicy: Never\nmutations: [{patchType: JSONPatch, jsonPatch: {expression: "object.metadata.name == \'marker\' ? [JSONPatch{op: \'add\', path: \'/metadata/labels\', value: {\'m\': \'marked\'}}] : [JSONPatch{op: \'test\', path: \'/kind\', value: 1}]"}}]' '' "$at")
  fi
  quiet k create -f "$1"
  trap 'kill $(jobs -p) 2> /dev/null; k delete -f '"$1"' --wait=false > /dev/null 2>&1' EXIT
  "${marks[@]}" > marks
  quiet k create -f marks
  local known=
  for _ in $(seq 200); do k create sa marker --dry-run=server -o yaml 2>&1 | grep -q marked && known=1 && break; done
  [ -n "$known" ] || echo "NOT ACTIVE: $sort"
  quiet k delete -f marks
}
openapi() {
  raw GET "/openapi/v3/$1" > /dev/null
  python3 -c '
import hashlib, json
def bare(it):
    if isinstance(it, list): return [bare(e) for e in it]
    if not isinstance(it, dict): return it
    left = ("description", "x-kubernetes-unions")
    if isinstance(it.get("required"), list): it["required"].sort()
    return {k: bare(v) for k, v in it.items() if k not in left and (k, v) != ("x-kubernetes-map-type", "granular")}
def digest(it): return hashlib.sha256(json.dumps(bare(it), sort_keys=True).encode()).hexdigest()[:8]
document = json.load(open("body"))
for path, item in sorted(document["paths"].items()):
    for method, it in sorted(item.items()):
        print(path, method, it.get("operationId", "") if isinstance(it, dict) else "", digest(it))
for name, it in sorted(document["components"]["schemas"].items()):
    kind = name.split(".")[-1]
    if kind in ("DeleteOptions", "WatchEvent"): it.pop("x-kubernetes-group-version-kind", None)
    if kind != "WatchEvent": print(name, digest(it))
' | sed "s/$N/NAMESPACE/g"
}
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
HULL='name: {type: string, maxLength: 20}, text: {type: string}, short: {type: string, maxLength: 8}, sails: {type: integer}, ratio: {type: number}, afloat: {type: boolean},
  when: {type: string, format: date-time}, day: {type: string, format: date}, long: {type: string, format: duration}, blob: {type: string, format: byte, maxLength: 40},
  port: {x-kubernetes-int-or-string: true}, any: {type: object, x-kubernetes-preserve-unknown-fields: true}, none: {type: string, nullable: true},
  tags: {type: array, maxItems: 5, x-kubernetes-list-type: set, items: {type: string, maxLength: 8}}, log: {type: array, maxItems: 9, items: {type: integer}},
  crew: {type: array, maxItems: 5, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id], items: {type: object, required: [id], properties: {id: {type: integer}, role: {type: string, maxLength: 8}}}},
  labels: {type: object, maxProperties: 5, additionalProperties: {type: string, maxLength: 8}}, dashed-name: {type: string}, dotted.name: {type: string}, namespace: {type: string}, under__score: {type: string}'
y() { printf "'%s'" "${1//\'/\'\'}"; }
rules() { local all=; for it in "$@"; do all+=", {rule: $(y "$it")}"; done; echo "[${all#, }]"; }
says() { local all=; for it in "$@"; do all+=", {rule: 'false', messageExpression: $(y "$it")}"; done; echo "[${all#, }]"; }
ruled() { boats "" "{type: object, properties: {spec: {type: object, x-kubernetes-validations: $1, properties: {${2:-$HULL}}}}}"; }
refused() { ruled "$@" | k create --dry-run=server -f - 2>&1 | sed 's/selfType[0-9]*/selfType/g'; }
judged() {
  ready ruled "$1" "${3:-}"
  boat a "$2" | k create --dry-run=server -f - 2>&1
  quiet k delete crd "$B"
}
job() {
  cat <<Y
---
apiVersion: batch/v1
kind: Job
metadata: {name: $1${4:+, $4}}
spec: {${2:+$2, }template: {spec: {schedulerName: nobody, restartPolicy: Never, containers: [{name: c, image: x${5:+, $5}}]${3:+, $3}}}}
Y
}
cron() {
  cat <<Y
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: $1${5:+, $5}}
spec: {schedule: "$2", ${3:+$3, }jobTemplate: {spec: {${4:+$4, }template: {spec: {schedulerName: nobody, restartPolicy: Never, containers: [{name: c, image: x}]}}}}}
Y
}
pods() {
  k get pods -l "$1" --sort-by=.metadata.creationTimestamp --no-headers \
    -o 'custom-columns=I:.metadata.labels.batch\.kubernetes\.io/job-completion-index,N:.metadata.name' | sort -s -k1,1n | awk '{print $2}'
}
ends() {
  local phase=$1 p; shift
  for p; do quiet k patch pod "$p" --subresource=status --type=merge -p "{\"status\":{\"phase\":\"$phase\"}}"; done
}
at() {
  local user=${1%%+*} groups=${1#*+} as=() it
  [ -n "$user" ] && as=(-H "Impersonate-User: $user")
  [ "$groups" != "$1" ] && for it in ${groups//,/ }; do as+=(-H "Impersonate-Group: $it"); done
  curl -s -m 25 -A differential --cacert $CREDENTIALS/ca --cert $CREDENTIALS/crt --key $CREDENTIALS/key "${as[@]}" -X "$2" \
    $([ "$2" = HEAD ] && echo -I) ${4:+-H 'Content-Type: application/json' --data-binary "$4"} -D at.headers -o at.body "$SERVER$3"
  tr -d '\r' < at.headers > at.head
  echo "$2 $3: $(head -1 at.head | cut -d' ' -f2) $(named flowschemas flowschema) $(named prioritylevelconfigurations prioritylevel)"
}
named() {
  local uid; uid=$(grep -i "^x-kubernetes-pf-$2-uid:" at.head | cut -d' ' -f2)
  [ -n "$uid" ] && k get "$1" -o jsonpath='{range .items[*]}{.metadata.uid} {.metadata.name}{"\n"}{end}' | grep "^$uid" | cut -d' ' -f2 || echo none
}
told() { grep -iE '^(retry-after|content-type|x-content-type-options):' at.head | tr A-Z a-z | sort; cat at.body; }
level() {
  cat > level <<Y
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: $N}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, borrowingLimitPercent: 0, limitResponse: ${1:-{type: Reject\}}}}
Y
  quiet k create -f level
}
flow() {
  local subject="name: \"$4\""
  [ "$3" = serviceAccount ] && subject="namespace: \"$4\", name: \"$5\""
  cat > flow <<Y
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: $N-$1}
spec:
  priorityLevelConfiguration: {name: $N}
  matchingPrecedence: $2
  distinguisherMethod: {type: ByUser}
  rules:
  - subjects: [{kind: ${3^}, $3: {$subject}}]
    resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}]
    nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]
Y
  quiet k create -f flow
}
flows() { local it; for it; do quiet k wait --for=condition=Dangling=False "flowschema/$N-$it" --timeout=20s; done; }
review() {
  local group=authorization kind
  case $1 in
    sar) kind=SubjectAccessReview ;; ssar) kind=SelfSubjectAccessReview ;; lsar) kind=LocalSubjectAccessReview ;;
    ssrr) kind=SelfSubjectRulesReview ;; tr) kind=TokenReview group=authentication ;; who) kind=SelfSubjectReview group=authentication ;;
  esac
  local path=/apis/$group.k8s.io/v1/$(echo $kind | tr A-Z a-z)s
  [ "$1" = lsar ] && path=/apis/$group.k8s.io/v1/namespaces/$N/localsubjectaccessreviews
  raw POST "$path" application/json "{\"apiVersion\":\"$group.k8s.io/v1\",\"kind\":\"$kind\"${3:+,$3}${2:+,\"spec\":$2}}"
}
as() {
  local who=(--cert "$CREDENTIALS/crt" --key "$CREDENTIALS/key") method=$1 path=$2 header
  [ -n "${T:-}" ] && who=(-H "Authorization: Bearer $T")
  shift 2
  for header; do who+=(-H "$header"); done
  curl -s -g -m 20 -A differential --cacert "$CREDENTIALS/ca" "${who[@]}" -X "$method" ${B:+-H 'Content-Type: application/json' --data-binary "$B"} -w '\n%{http_code}\n' "$SERVER$path"
}
