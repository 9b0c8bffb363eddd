#!/bin/sh
# A helper that asks EC2's metadata by itself, program by program, as AWS's own host scripts do: every item
# is fetched and every certificate checked for each call. The steps are theirs, the text is not. It stands
# beside sixtykeyd-ec2 where figures are measured, and where both are chained.
#
#     metadata_helper.sh [--socket IGNORED] USER [FINGERPRINT]
set -u
umask 077
[ "$1" = --socket ] && shift 2
user=$1 wanted=${2:-}
url=@URL@ roots=@ROOTS@

fetch() { curl -s -f -m 1 -H "X-aws-ec2-metadata-token: $token" "$url/latest/meta-data/$1"; }
subject() { openssl x509 -noout -subject -in "$1" | sed -n 's/^.*CN[[:space:]]*=[[:space:]]*//p'; }

token=$(curl -s -f -m 1 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 5" "$url/latest/api/token") || exit 255
instance=$(fetch instance-id/) || exit 255
echo "$instance" | grep -Eq '^i-[0-9a-f]{8,32}$' || exit 0
id -u -- "$user" > /dev/null 2>&1 || exit 0
keys=managed-ssh-keys/active-keys/$user/
status=$(curl -s -m 1 -o /dev/null -I -w '%{http_code}' -H "X-aws-ec2-metadata-token: $token" \
	"$url/latest/meta-data/$keys")
[ "$status" = 200 ] || exit 0
zone=$(fetch placement/availability-zone/) || exit 255
region=$(echo "$zone" | sed -n 's/\(\([a-z]\+-\)\+[0-9]\+\).*/\1/p')
domain=$(fetch services/domain/) || exit 255
work=$(mktemp -d /dev/shm/metadata-helper-XXXXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT

fetch managed-ssh-keys/signer-cert/ > "$work/chain" || exit 255
mkdir "$work/ocsp"
for name in $(fetch managed-ssh-keys/signer-ocsp/); do
	fetch "managed-ssh-keys/signer-ocsp/$name" | base64 -d > "$work/ocsp/$name"
done
awk -v to="$work/cert" '{ print > (to n + 0 ".pem") } /END CERTIFICATE/ { n++ }' "$work/chain"
last=$(($(grep -c 'END CERTIFICATE' "$work/chain") - 1))

[ "$(subject "$work/cert0.pem")" = "managed-ssh-signer.$region.$domain" ] || exit 1
openssl verify -x509_strict -CAfile "$roots" -untrusted "$work/chain" "$work/cert0.pem" > /dev/null 2>&1 || exit 1
for n in $(seq 0 $((last - 1))); do
	name=$(openssl x509 -noout -fingerprint -sha1 -in "$work/cert$n.pem" | sed 's/^.*=//' | tr -d :)
	issuer=$work/cert$((n + 1)).pem
	said=$(openssl ocsp -no_nonce -issuer "$issuer" -cert "$work/cert$n.pem" -VAfile "$issuer" \
		-respin "$work/ocsp/$name" 2> /dev/null) || exit 1
	case $said in "$work/cert$n.pem: good"*) ;; *) exit 1 ;; esac
done
openssl x509 -pubkey -noout -in "$work/cert0.pem" > "$work/pubkey"

code=255 now=$(date +%s)
fetch "$keys" > "$work/keys" || exit 255
awk -v to="$work/block" 'BEGIN { RS = "" } { print > (to NR) }' "$work/keys"
for block in "$work"/block*; do
	grep '^#' "$block" > "$work/signed"
	key=$(grep -m 1 '^ssh' "$block") || continue
	echo "$key" >> "$work/signed"
	echo "$key" > "$work/key"
	sed '1,/^ssh/d' "$block" | base64 -d > "$work/signature" 2> /dev/null || continue
	print=$(ssh-keygen -lf "$work/key" | cut -d ' ' -f 2)
	[ -z "$wanted" ] || [ "$print" = "$wanted" ] || continue
	grep -qx "#Instance=$instance" "$work/signed" || continue
	[ "$(sed -n 's/^#Timestamp=//p' "$work/signed")" -gt "$now" ] || continue
	openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify "$work/pubkey" \
		-signature "$work/signature" "$work/signed" > /dev/null 2>&1 || continue
	logger -i -p authpriv.info "key $print" 2> /dev/null
	echo "$key"
	code=0
done
exit $code
