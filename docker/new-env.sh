#!/bin/sh
# Makes docker/platform.env out of the sample beside it, with a fresh secret wherever one is empty.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here/platform.env}

if [ -e "$target" ]; then
    echo "new-env: $target is there already and holds your keys: move it away first" >&2
    exit 1
fi

while IFS= read -r line; do
    case $line in
        MEATLIZARD_KEYS=)
            # 32 bytes in URL-safe base64, as `meatlizard keys new` makes them.
            printf '%s%s\n' "$line" "$(openssl rand -base64 32 | tr '+/' '-_')" ;;
        POSTGRES_PASSWORD= | REDIS_PASSWORD= | MEATLIZARD_S3_ACCESS_KEY= | MEATLIZARD_S3_SECRET_KEY= | \
        MEATLIZARD_FLOWER_PASSWORD=)
            printf '%s%s\n' "$line" "$(openssl rand -hex 24)" ;;
        *)
            printf '%s\n' "$line" ;;
    esac
done < "$here/platform.env.sample" > "$target.new"
mv "$target.new" "$target"
echo "$target is made. Keep a copy of it where this machine is not."
