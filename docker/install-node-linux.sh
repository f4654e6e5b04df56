#!/bin/sh
# Installs a node on Linux as a systemd service of the user who runs this: no root, no inbound port.
#
#   sh docker/install-node-linux.sh [--home DIR] [--model FILE]
#
# It asks for the line that `meatlizard node invite` printed on the platform; a script pipes it in. Run it again to update, and
# answer with nothing; `systemctl --user disable --now meatlizard-node-NAME` ends the node for good. `loginctl enable-linger` lets it run while you are logged out.
set -eu

# shellcheck source=docker/node-common.sh
. "$(dirname "$0")/node-common.sh"

[ "$(uname -s)" = Linux ] || fail "this is for Linux; on a Mac use install-node-macos.sh"
read_arguments "$@"
make_venv
join

unit=meatlizard-node-$name.service
units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
mkdir -p "$units"
fill "$repository/docker/node.service.in" "$units/$unit" unit

systemctl --user daemon-reload
systemctl --user enable "$unit"
systemctl --user restart "$unit"
say "The node $name runs. Log: journalctl --user -u $unit"
