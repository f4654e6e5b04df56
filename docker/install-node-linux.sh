#!/bin/sh
# Installs a node on Linux as a systemd service of the user who runs this: no root, no inbound port.
#
#   sh docker/install-node-linux.sh NODE_ENV [--home DIR]
#
# NODE_ENV is what docker/invite.py printed on the platform. Run it again to update; `systemctl --user disable --now
# meatlizard-node-NAME` ends the node for good. `loginctl enable-linger` lets it run while you are logged out.
set -eu

# shellcheck source=docker/node-common.sh
. "$(dirname "$0")/node-common.sh"

[ "$(uname -s)" = Linux ] || fail "this is for Linux; on a Mac use install-node-macos.sh"
read_arguments "$@"
make_venv
put_settings

unit=meatlizard-node-$name.service
units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
mkdir -p "$units"
fill "$repository/docker/node.service.in" "$units/$unit" unit

systemctl --user daemon-reload
systemctl --user enable "$unit"
systemctl --user restart "$unit"
say "The node $name runs. Log: journalctl --user -u $unit"
