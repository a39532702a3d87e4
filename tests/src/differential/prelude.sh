# The words that a case may use. The runner sets KUBECTL, KUBECONFIG (its namespace is $N), SERVER, WORK.
# $N   the case's own namespace; also a good part of a cluster-wide name: it is unique to this run
# k    kubectl
# raw METHOD PATH [CONTENT-TYPE [BODY [ACCEPT]]]   status, content type and body of one request;
#      T=token asks with that token instead of the administrator's certificate, H="Name: value" adds a header
# pod NAME [EXTRA]   a pod that no scheduler takes: it stays as it was made, on any cluster
# quiet CMD...       runs it without a word: for the making of what a case needs
set -u
export HOME=$WORK
cd "$WORK"
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
