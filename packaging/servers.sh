#!/bin/sh
# Installs the servers that the tests run, where they are missing. They are
# started by the tests themselves, on loopback, in temporary folders; Debian's
# own instances are neither used nor needed.
set -eu

missing=
[ -x /usr/sbin/slapd ] || missing="$missing slapd"
command -v ldapsearch >/dev/null || missing="$missing ldap-utils"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -x /usr/sbin/samba ] && [ -d /usr/share/samba/setup ] || missing="$missing samba-ad-dc samba-ad-provision" # an Active Directory domain controller
[ -x /usr/sbin/ns-slapd ] || missing="$missing 389-ds-base"
command -v certutil >/dev/null || missing="$missing libnss3-tools" # 389's certificates
command -v openssl >/dev/null || missing="$missing openssl"
command -v systemd-analyze >/dev/null || missing="$missing systemd" # judges the unit; nothing is run by it
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
command -v apt-get >/dev/null || {
	echo "these tests need:$missing. Install them with your system's package manager." >&2
	exit 1
}
echo "installing$missing"
$as_root apt-get update -qq
# policy-rc.d keeps Debian from starting its own instances while it installs.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
	$as_root chmod 755 $policy
	trap '$as_root rm -f $policy' EXIT
fi
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
