#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# makefile_test.sh CAPSTAN: the drop-in makefile, run by make as "Zero-Downtime Root Certificate Rotation in
# Istio" runs Istio's: the same targets, files and variables; openssl accepts what comes out.
set -eu

CAPSTAN=$(readlink -f "$1")
export CAPSTAN
for tool in make openssl; do
  command -v "$tool" >/dev/null || {
    echo "skipped: $tool is not installed"
    exit 77
  }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# expect WHAT ACTUAL EXPECTED
expect() { [ "$2" = "$3" ] || fail "$1: got '$2', expected '$3'"; }
files() { (cd "$1" && find . -maxdepth 1 -type f | sed 's|^\./||' | sort | tr '\n' ' '); }
mk() { make -s -f ./Makefile.selfsigned.mk "$@" >>make.log 2>&1 || fail "make $*: $(cat make.log)"; }
field() { openssl x509 -in "$1" -noout "$2" -nameopt RFC2253 | sed 's/^[a-zA-Z]*=//'; }
text() { openssl x509 -in "$1" -noout -text; }

"$CAPSTAN" pki makefile >Makefile.selfsigned.mk

# Phase 1 of the guide, line for line.
mk root-ca
mk intermediateA-cacerts
expect "files of root-ca" "$(files . | sed 's/Makefile.selfsigned.mk //; s/make.log //')" \
  "root-ca.conf root-cert.csr root-cert.pem root-key.pem "
expect "files of intermediateA-cacerts" "$(files intermediateA)" \
  "ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem "
mkdir rootA
mv root-* rootA
mv intermediateA rootA
mk root-ca
mk intermediateB-cacerts
mkdir rootB
mv root-* rootB
rm -rf rootB/intermediateB
mv intermediateB rootB
cat rootA/root-cert.pem rootB/root-cert.pem rootB/root-cert.pem >combined-root2.pem
expect "roots of A+B+B" "$(grep -c BEGIN combined-root2.pem)" 3

for x in A B; do
  dir=root$x/intermediate$x
  openssl verify -CAfile root$x/root-cert.pem $dir/ca-cert.pem >>make.log || fail "openssl verify of $x"
  cat $dir/ca-cert.pem root$x/root-cert.pem | cmp -s - $dir/cert-chain.pem || fail "cert-chain.pem of $x"
  cmp -s root$x/root-cert.pem $dir/root-cert.pem || fail "root-cert.pem of $x"
  expect "mode of the key" "$(stat -c %a $dir/ca-key.pem)" 600
  expect "subject of the root" "$(field root$x/root-cert.pem -subject)" "CN=Root CA,O=Istio"
  expect "subject of the intermediate" "$(field $dir/ca-cert.pem -subject)" \
    "L=intermediate$x,CN=Intermediate CA,O=Istio"
  text $dir/ca-cert.pem | grep -q 'Public-Key: (4096 bit)' || fail "key size of $x"
  text $dir/ca-cert.pem | grep -q 'CA:TRUE, pathlen:0' || fail "path length of $x"
  text $dir/ca-cert.pem | grep -q 'DNS:istiod.istio-system.svc' || fail "name of $x"
  if text root$x/root-cert.pem | grep -q 'CRL Sign'; then fail "cRLSign without CRL_SIGN"; fi
done
if openssl verify -CAfile rootA/root-cert.pem rootB/intermediateB/ca-cert.pem >>make.log 2>&1; then
  fail "B's intermediate verifies under A"
fi

# Variables, from the command line and from the environment.
mk root-ca ROOTCA_DAYS=10 ROOTCA_KEYSZ=2048 ROOTCA_ORG="Acme & Sons' #1" CRL_SIGN=1
expect "ROOTCA_ORG" "$(field root-cert.pem -subject)" "CN=Root CA,O=Acme & Sons' #1"
text root-cert.pem | grep -q 'CRL Sign' || fail "CRL_SIGN"
text root-cert.pem | grep -q 'Public-Key: (2048 bit)' || fail "ROOTCA_KEYSZ"
openssl x509 -in root-cert.pem -noout -checkend $((11 * 86400)) >>make.log && fail "ROOTCA_DAYS"
INTERMEDIATE_CN='Cluster CA' INTERMEDIATE_SAN_DNS=capstand.example mk c-cacerts INTERMEDIATE_KEYSZ=2048
expect "INTERMEDIATE_CN" "$(field c/ca-cert.pem -subject)" "L=c,CN=Cluster CA,O=Istio"
text c/ca-cert.pem | grep -q 'DNS:capstand.example' || fail "INTERMEDIATE_SAN_DNS"

# A changed request file makes a new certificate under the same key; a key is never made again.
key=$(cksum root-key.pem)
old=$(field root-cert.pem -serial)
sed -i 's/^CN = .*/CN = Renamed CA/' root-ca.conf
touch -d '+2 seconds' root-ca.conf
mk root-ca
expect "CN after the edit" "$(field root-cert.pem -subject)" "CN=Renamed CA,O=Acme & Sons' #1"
expect "key after the edit" "$(cksum root-key.pem)" "$key"
[ "$(field root-cert.pem -serial)" != "$old" ] || fail "the certificate was not made again"

# A workload's certificates, for a virtual machine.
mk root-ca
SERVICE_ACCOUNT='sleep' mk vm-certs INTERMEDIATE_KEYSZ=2048
expect "files of vm-certs" "$(files vm)" \
  "ca-cert.pem ca-key.pem key.pem root-cert.pem workload-cert-chain.pem workload-cert.pem "
text vm/workload-cert.pem | grep -q 'URI:spiffe://cluster.local/ns/vm/sa/sleep' || fail "SPIFFE ID"
openssl verify -CAfile root-cert.pem -untrusted vm/ca-cert.pem vm/workload-cert.pem >>make.log ||
  fail "openssl verify of the workload"

mk clean
for gone in root-key.pem root-cert.pem root-cert.csr root-ca.conf; do
  [ ! -e "$gone" ] || fail "clean left $gone"
done
[ -e c/ca-key.pem ] || fail "clean removed an intermediate"
make -s -f ./Makefile.selfsigned.mk | grep -q 'root-ca:' || fail "help"
echo "the makefile is a drop-in"
