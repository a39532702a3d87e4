# Asks a server one thing after the other; each request names its audit event (`case-NAME`). $SERVER is its URL, and
# ca, cert and key are files of the working folder, of somebody who may do everything.
# What is answered does not matter here: the events are compared.
curls() { curl -s -o /dev/null --max-time 20 --cacert ca -A asker "$@"; }
ask() { # name, method, path, further options of curl: as the owner
  local name=$1 method=$2 path=$3; shift 3
  curls --cert cert --key key -X "$method" -H "Audit-ID: case-$name" "$@" "$SERVER$path"
}
stranger() { # the same, as nobody
  local name=$1 method=$2 path=$3; shift 3
  curls -X "$method" -H "Audit-ID: case-$name" "$@" "$SERVER$path"
}
J='Content-Type: application/json' Y='Content-Type: application/apply-patch+yaml'
N=/api/v1/namespaces/audit

ask namespace POST /api/v1/namespaces -H "$J" -d '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"audit","labels":{
  "pod-security.kubernetes.io/enforce":"baseline","pod-security.kubernetes.io/audit":"restricted"}}}'
ask namespace-omit POST /api/v1/namespaces -H "$J" -d '{"metadata":{"name":"audit-omit"}}'
ask create POST $N/configmaps -H "$J" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}'
ask create-again POST $N/configmaps -H "$J" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}'
ask create-bare POST $N/configmaps -H "$J" -d '{"metadata":{"name":"b"},"nothing":1}'
ask create-generated POST $N/configmaps?dryRun=All -H "$J" -d '{"metadata":{"generateName":"g-"}}'
ask create-invalid POST $N/configmaps -H "$J" -d '{"metadata":{"name":"UPPER"}}'
ask create-garbage POST $N/configmaps -H "$J" -d '{"metadata":'
ask create-type POST $N/configmaps -H "Content-Type: text/plain" -d 'x'
ask get GET $N/configmaps/a
ask get-none GET $N/configmaps/none
ask get-table GET $N/configmaps/a -H 'Accept: application/json;as=Table;g=meta.k8s.io;v=v1'
ask get-yaml GET $N/configmaps/a -H 'Accept: application/yaml'
ask get-refused GET $N/configmaps/a -H 'Accept: text/html'
ask list GET "$N/configmaps?labelSelector=x%3Dy&limit=5"
ask list-one GET "$N/configmaps?fieldSelector=metadata.name%3Da"
ask watch GET "$N/configmaps?watch=1&timeoutSeconds=1"
ask watch-gone GET "$N/configmaps?watch=1&resourceVersion=x"
ask update PUT $N/configmaps/a -H "$J" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"w"}}'
ask update-stale PUT $N/configmaps/a -H "$J" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"1"}}'
ask merge PATCH $N/configmaps/a -H 'Content-Type: application/merge-patch+json' -d '{"data":{"m":"1"}}'
ask json-patch PATCH $N/configmaps/a -H 'Content-Type: application/json-patch+json' -d '[{"op":"add","path":"/data/j","value":"1"}]'
ask apply PATCH "$N/configmaps/applied?fieldManager=m" -H "$Y" --data-binary $'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {k: v}\n'
ask patch-garbage PATCH $N/configmaps/a -H 'Content-Type: application/merge-patch+json' -d '{'
ask no-resource GET $N/nothings
ask no-method PUT $N/configmaps -H "$J" -d '{}'
ask request-only PUT $N/configmaps/requestonly -H "$J" -d '{"metadata":{"name":"requestonly"}}'
ask omit POST /api/v1/namespaces/audit-omit/configmaps -H "$J" -d '{"metadata":{"name":"o"}}'
ask omit-list GET /api/v1/namespaces/audit-omit/configmaps?fieldSelector=metadata.name%3Do
ask secret POST $N/secrets -H "$J" -d '{"metadata":{"name":"s"},"stringData":{"k":"v"}}'
ask deployment POST /apis/apps/v1/namespaces/audit/deployments -H "$J" -d '{"metadata":{"name":"d"},"spec":{"replicas":0,
  "selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}'
ask scale PUT /apis/apps/v1/namespaces/audit/deployments/d/scale -H "$J" -d '{"metadata":{"name":"d"},"spec":{"replicas":0}}'
ask scale-get GET /apis/apps/v1/namespaces/audit/deployments/d/scale
ask account POST $N/serviceaccounts -H "$J" -d '{"metadata":{"name":"robot"}}'
ask token POST $N/serviceaccounts/robot/token -H "$J" -d '{"spec":{"expirationSeconds":3600}}'
ask role POST /apis/rbac.authorization.k8s.io/v1/namespaces/audit/rolebindings -H "$J" -d '{"metadata":{"name":"robot"},
  "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},
  "subjects":[{"kind":"ServiceAccount","name":"robot","namespace":"audit"}]}'
token=$(curl -s --cacert ca --cert cert --key key -X POST -H "$J" -d '{}' "$SERVER$N/serviceaccounts/robot/token" |
  sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
stranger robot GET $N/configmaps/a -H "Authorization: Bearer $token"
stranger robot-refused GET $N/secrets -H "Authorization: Bearer $token"
stranger robot-path GET /metrics -H "Authorization: Bearer $token"
ask as-eve GET $N/configmaps/a -H 'Impersonate-User: eve'
ask as-eve-create POST $N/configmaps -H 'Impersonate-User: eve' -H "$J" -d '{"metadata":{"name":"e"}}'
ask as-robot GET $N/configmaps/a -H 'Impersonate-User: system:serviceaccount:audit:robot'
ask as-master GET $N/configmaps/a -H 'Impersonate-User: eve' -H 'Impersonate-Group: system:masters' -H 'Impersonate-Extra-Why: told'
ask as-group GET $N/configmaps/a -H 'Impersonate-Group: g'
stranger robot-as-eve GET $N/configmaps/a -H "Authorization: Bearer $token" -H 'Impersonate-User: eve'
stranger anonymous GET $N/configmaps/a
stranger anonymous-version GET /version
stranger anonymous-path GET /nothing
stranger bad-token GET $N/configmaps/a -H 'Authorization: Bearer no'
stranger bad-basic GET $N/configmaps/a -H 'Authorization: Basic eDp5'
ask version GET /version
ask version-post POST /version
ask discovery-none GET /apis/none
ask path-none GET /nothing?x=y
ask path-live GET /livez
ask review POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews -H "$J" -d '{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}'
ask pod POST $N/pods -H "$J" -d '{"metadata":{"name":"p"},"spec":{"schedulerName":"none","automountServiceAccountToken":false,
  "containers":[{"name":"c","image":"i"}]}}'
ask pod-refused POST $N/pods -H "$J" -d '{"metadata":{"name":"q"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i"}]}}'
ask pod-status PATCH $N/pods/p/status -H 'Content-Type: application/merge-patch+json' -d '{"status":{"message":"m"}}'
ask exec POST "$N/pods/p/exec?command=true&stdout=true"
ask exec-get GET "$N/pods/p/exec?command=true"
ask log GET $N/pods/p/log
ask proxy GET $N/pods/p/proxy/x
ask bind POST $N/pods/p/binding -H "$J" -d '{"metadata":{"name":"p"},"target":{"name":"nowhere"}}'
ask evict POST $N/pods/p/eviction?dryRun=All -H "$J" -d '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}'
ask deprecated GET $N/endpoints/none
ask deprecated-list GET /api/v1/componentstatuses/none
ask agent GET $N/configmaps/a -A "$(printf 'x%.0s' $(seq 1100))"
ask forwarded GET $N/configmaps/a -H 'X-Forwarded-For: 192.0.2.1, x, 192.0.2.2' -H 'X-Real-Ip: 192.0.2.3'
ask late GET "$N/configmaps/a?timeout=1ns"
ask timeout-wrong GET "$N/configmaps/a?timeout=x"
ask delete-options DELETE $N/configmaps/b -H "$J" -d '{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"none"}}'
ask delete DELETE $N/configmaps/b
ask delete-none DELETE $N/configmaps/none
ask delete-pod DELETE "$N/pods/p?gracePeriodSeconds=0"
ask delete-collection DELETE $N/configmaps?labelSelector=x%3Dy
