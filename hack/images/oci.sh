# Sourced by images/build: layers and OCI archives, made with tar and sha256sum alone.
# shellcheck shell=bash
#
# A layer is a directory in the cache, layers/NAME-HASH/, with layer.tar and its digest. Layers stay uncompressed:
# importing is then a copy, and a base layer that every image shares is stored once by containerd.

# The same content always gives the same bytes: sorted, no times, numeric owners.
tar_of() { tar --sort=name --mtime=@0 --numeric-owner --format=gnu "$@"; }

seal_layer() { # DIR: adds the digest of DIR/layer.tar
  sha256sum <"$1/layer.tar" | cut -d' ' -f1 >"$1/digest"
}

# tree_layer NAME FUNCTION INPUTS...: prints the path of a layer whose content FUNCTION writes into the directory it
# is given. INPUTS are files whose contents decide the result, next to the text of FUNCTION itself.
tree_layer() {
  local name=$1 fn=$2 path
  shift 2
  path=$CACHE/layers/$name-$({
    declare -f "$fn"
    hash_files "$@"
  } | hash_of)
  make_once "$path" fill_tree_layer "$fn"
  keep_newest 3 "$path"
  echo "$path"
}

fill_tree_layer() { # FUNCTION DIR
  mkdir -p "$2/tree"
  "$1" "$2/tree"
  tar_of --owner=0 --group=0 -C "$2/tree" -cf "$2/layer.tar" .
  rm -rf "$2/tree"
  seal_layer "$2"
}

# archive NAME REF CONFIG LAYER...: prints the path of the OCI archive of these layers under the name REF. CONFIG is
# the image's configuration as JSON (Entrypoint, Env, User …).
archive() {
  local name=$1 path
  path=$CACHE/images/$name-$({
    printf '%s\n' "$2" "$3"
    local l
    for l in "${@:4}"; do cat "$l/digest"; done
    declare -f fill_archive
  } | hash_of).tar
  make_once "$path" fill_archive "${@:2}"
  keep_newest 3 "$path"
  echo "$path"
}

fill_archive() { # REF CONFIG LAYER... OUT
  local ref=$1 config=$2 out=${*: -1} layers=("${@:3:$#-3}") dir
  dir=$(mktemp -d "$CACHE/images/.oci-XXXXXX")
  # shellcheck disable=SC2064 # this directory, now
  trap "rm -rf '$dir'" EXIT
  mkdir -p "$dir/blobs/sha256"

  local layer digest diff_ids='' descriptors=''
  for layer in "${layers[@]}"; do
    digest=$(<"$layer/digest")
    ln -f "$layer/layer.tar" "$dir/blobs/sha256/$digest" 2>/dev/null || cp "$layer/layer.tar" "$dir/blobs/sha256/$digest"
    diff_ids+="${diff_ids:+,}\"sha256:$digest\""
    descriptors+="${descriptors:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$(stat -c %s "$layer/layer.tar")}"
  done

  local arch config_desc manifest_desc
  arch=$(go env GOARCH)
  config_desc=$(blob "$dir" application/vnd.oci.image.config.v1+json <<<"{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"$arch\",\"os\":\"linux\",\"config\":$config,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$diff_ids]}}")
  manifest_desc=$(blob "$dir" application/vnd.oci.image.manifest.v1+json <<<"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":$config_desc,\"layers\":[$descriptors]}")
  echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
  cat >"$dir/index.json" <<J
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[${manifest_desc%\}},"platform":{"os":"linux","architecture":"$arch"},"annotations":{"io.containerd.image.name":"$ref","org.opencontainers.image.ref.name":"${ref##*:}"}}]}
J
  tar_of --owner=0 --group=0 -C "$dir" -cf "$out" oci-layout index.json blobs
}

blob() { # DIR MEDIATYPE: stdin becomes a blob; prints its descriptor
  local text digest
  text=$(cat)
  digest=$(printf %s "$text" | sha256sum | cut -d' ' -f1)
  printf %s "$text" >"$1/blobs/sha256/$digest"
  echo "{\"mediaType\":\"$2\",\"digest\":\"sha256:$digest\",\"size\":$(printf %s "$text" | wc -c)}"
}
