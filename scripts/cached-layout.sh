# Sourced by the scripts that make an image: an OCI layout that is made once and kept.
#
#   begin_layout LAYOUT_DIR FILE…   ends the script when the layout is there and was made by these same files;
#                                   otherwise sets $work (a temporary directory) and $image ($work/layout)
#   publish_layout                  moves $image to LAYOUT_DIR
#
# The scripts that ask for one layout at the same time wait for each other: the first makes it.

begin_layout() {
  layout=${1:?usage: $0 LAYOUT_DIR}
  shift
  recipe=$(cat "$@" | sha256sum | cut -d' ' -f1)
  mkdir -p "$(dirname "$layout")"
  exec 9>"$layout.lock"
  flock 9
  if [[ "$(cat "$layout.recipe" 2>/dev/null)" == "$recipe" && -f "$layout/index.json" ]]; then exit 0; fi
  work=$(mktemp -d "${TMPDIR:-/tmp}/flamebox-image.XXXXXXXX")
  trap 'rm -rf "$work"' EXIT
  image=$work/layout
}

publish_layout() {
  umoci gc --layout "$image"
  rm -rf "$layout" "$layout.recipe"
  # A copy first, because the temporary directory may be on another file system; the rename makes it whole.
  cp -r "$image" "$layout.new.$$"
  mv -T "$layout.new.$$" "$layout"
  echo "$recipe" >"$layout.recipe"
}
