# One worker of a load that keeps account: load.sh WORKER, in a folder with `ca`, `cert` and `key`, until there is a file
# `stop`. It creates, changes and (every third) deletes ConfigMaps of its own, and says before each write `NAME WHAT ?`,
# after its answer `NAME WHAT REVISION` (of a delete: 0). After a write without an answer the object is left alone.
worker=$1
url=https://127.0.0.1:6443/api/v1/namespaces/default/configmaps
revision='"resourceVersion": *"([0-9]+)"'
write() { # name, what, curl's words
  local name=$1 what=$2 answer; shift 2
  echo "$name $what ?"
  answer=$(curl -s -m 10 --cert cert --key key --cacert ca -w '\n%{http_code}' "$@") || return 1
  case ${answer##*$'\n'} in 200 | 201) ;; *) return 1 ;; esac
  [[ $what = delete || $answer =~ $revision ]] || return 1
  echo "$name $what ${BASH_REMATCH[1]:-0}"
}
for ((i = 0; ; i++)); do
  [ -e stop ] && exit 0
  name=m-$worker-$i BASH_REMATCH=()
  write $name create -H 'Content-Type: application/json' \
    -d '{"metadata":{"name":"'$name'"},"data":{"x":"1"}}' $url || continue
  write $name update -X PATCH -H 'Content-Type: application/merge-patch+json' \
    -d '{"data":{"x":"2"}}' $url/$name || continue
  BASH_REMATCH=()
  ((i % 3)) || write $name delete -X DELETE $url/$name
done
