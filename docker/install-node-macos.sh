#!/bin/sh
# Installs a node on a Mac as a launchd agent of the user who runs this: no root, no inbound port.
#
#   sh docker/install-node-macos.sh [--home DIR] [--model FILE]
#
# It asks for the line that `meatlizard node invite` printed on the platform; a script pipes it in. Run it again to update, and
# answer with nothing; `launchctl bootout gui/$(id -u)/meatlizard.node.NAME` ends the node, and deleting its plist keeps it
# from coming back.
#
# An agent runs while its user is logged in. A Mac that sleeps answers nobody: forbid sleep in the system settings,
# or keep `caffeinate -i` running. After a sleep every connection is dead; the node notices and comes back.
set -eu

# shellcheck source=docker/node-common.sh
. "$(dirname "$0")/node-common.sh"

[ "$(uname -s)" = Darwin ] || fail "this is for macOS; on Linux use install-node-linux.sh"
read_arguments "$@"
make_venv
join

label=meatlizard.node.$name
agents=$HOME/Library/LaunchAgents
domain=gui/$(id -u)
mkdir -p "$agents"
fill "$repository/docker/node.plist.in" "$agents/$label.plist" xml

launchctl bootout "$domain/$label" 2>/dev/null || true
# An agent that was just ended may still be on its way out.
tries=0
until launchctl bootstrap "$domain" "$agents/$label.plist"; do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || fail "launchd does not take $agents/$label.plist: see the line above"
    sleep 2
done
say "The node $name runs and comes back at each login. Log: $home/logs/node-$name.log"
