#!/usr/bin/env bash
# The deployment that a careful person writes with git and the usual tools: a shallow bare cache, a
# directory for each release, its files synced before it is activated, and a link replaced by rename.
# It is what deploykit is measured beside.
#
#     deploy.sh APP URL BRANCH deploy|rollback|resolve|fetch ID|checkout ID NAME|seal NAME|activate NAME
set -euo pipefail

app=$1 url=$2 branch=$3
cache=$app/cache.git
keep=3

resolve() {
    local id _
    read -r id _ < <(git ls-remote --exit-code "$url" "refs/heads/$branch")
    echo "$id"
}

# The reference makes the commit known to the next fetch, which then gets only what has changed.
# Housekeeping is left for another time, so that nothing runs on in the background.
fetch() {
    [ -d "$cache" ] || git init --quiet --bare "$cache"
    git --git-dir="$cache" fetch --quiet --no-auto-maintenance --no-tags --depth 1 \
        "$url" "+$1:refs/heads/$branch"
}

checkout() {
    mkdir -p "$app/releases/$2"
    git --git-dir="$cache" archive "$1" | tar -x -C "$app/releases/$2"
    echo "$1" > "$app/releases/$2/REVISION"
}

seal() {
    sync -f "$app/releases/$1"
}

activate() {
    rm -f "$app/active.new"
    ln -s "releases/$1" "$app/active.new"
    mv -T "$app/active.new" "$app/active"
}

active() {
    local target=
    [ ! -L "$app/active" ] || target=$(readlink "$app/active")
    echo "${target##*/}"
}

prune() {
    local releases=("$app"/releases/*)
    while [ "${#releases[@]}" -gt "$keep" ]; do
        [ "${releases[0]##*/}" = "$(active)" ] || rm -rf "${releases[0]}"
        releases=("${releases[@]:1}")
    done
}

deploy() {
    local id name now
    id=$(resolve)
    now=$(active)
    if [ -n "$now" ] && [ "$(< "$app/releases/$now/REVISION")" = "$id" ]; then
        return
    fi
    name=$(date -u +%Y%m%d-%H%M%S.%N)-${id:0:12}
    fetch "$id"
    checkout "$id" "$name"
    seal "$name"
    activate "$name"
    prune
}

# To the release before the active one.
rollback() {
    local now release previous=
    now=$(active)
    for release in "$app"/releases/*; do
        [ "${release##*/}" != "$now" ] || break
        previous=${release##*/}
    done
    [ -n "$previous" ] || { echo "nothing to roll back to" >&2; exit 1; }
    activate "$previous"
}

shift 3
"$@"
