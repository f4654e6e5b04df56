#!/bin/sh
# Starts Valkey with a user for the platform and one for each node; runs inside the redis container.
# Options after the folder (default /data) go to the server.
set -eu
umask 077

data=${1:-/data}
[ $# -eq 0 ] || shift
users=$data/users.acl
password=$(printf '%s' "$REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)

{
    echo 'user default off'
    echo "user platform on #$password ~* &* +@all"
    # invite.py has the server write these; they stay.
    if [ -f "$users" ]; then grep '^user node-' "$users" || true; fi
} > "$users.new"
mv "$users.new" "$users"

# The same as the embedded Valkey (app/local/valkey.py): on disk within a second, and rather refuse than forget.
exec valkey-server --dir "$data" --aclfile "$users" --appendonly yes --appendfsync everysec --save '' \
    --maxmemory 512mb --maxmemory-policy noeviction --tcp-keepalive 60 "$@"
