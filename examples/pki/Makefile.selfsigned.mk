# SPDX-License-Identifier: Apache-2.0
# Test CAs for a mesh: the targets, files and variables of Istio's tools/certs/Makefile.selfsigned.mk (and
# its common.mk, which is not needed here), made by `capstan pki` instead of openssl. Run it where the
# files shall be:
#
#   make -f Makefile.selfsigned.mk root-ca
#   make -f Makefile.selfsigned.mk intermediateA-cacerts
#
# What differs: *_KEYSZ counts for the keys too (Istio's reach only the request files); serial numbers
# are random, so no root-cert.srl is left behind; CRL_SIGN=1 lets the CAs sign CRLs.

.SUFFIXES: .csr .pem .conf
.PRECIOUS: %/ca-key.pem %/ca-cert.pem %/cert-chain.pem
.PRECIOUS: %/workload-cert.pem %/key.pem %/workload-cert-chain.pem
.SECONDARY: root-cert.csr root-ca.conf
.DELETE_ON_ERROR:

.DEFAULT_GOAL := help

CAPSTAN ?= capstan

# --- variables: root CA ---
ROOTCA_DAYS ?= 3650
ROOTCA_KEYSZ ?= 4096
ROOTCA_ORG ?= Istio
ROOTCA_CN ?= Root CA
ROOTCA_KEY_TYPE ?= rsa-$(ROOTCA_KEYSZ)

# --- variables: intermediate CA ---
INTERMEDIATE_DAYS ?= 3650
INTERMEDIATE_KEYSZ ?= 4096
INTERMEDIATE_ORG ?= Istio
INTERMEDIATE_CN ?= Intermediate CA
INTERMEDIATE_SAN_DNS ?= istiod.istio-system.svc
INTERMEDIATE_KEY_TYPE ?= rsa-$(INTERMEDIATE_KEYSZ)

# --- variables: workload certificates, for virtual machines ---
WORKLOAD_DAYS ?= 1
SERVICE_ACCOUNT ?= default
WORKLOAD_CN ?= Workload
TRUST_DOMAIN ?= cluster.local
WORKLOAD_KEY_TYPE ?= rsa-$(INTERMEDIATE_KEYSZ)

# 1: both kinds of CA may sign CRLs, which Istio's may not.
CRL_SIGN ?=
crl_sign = $(if $(filter-out 0,$(CRL_SIGN)),--crl-sign)

FILES_TO_CLEAN += k8s-root-cert.pem k8s-root-cert.srl k8s-root-key.pem \
	root-ca.conf root-cert.csr root-cert.pem root-cert.srl root-key.pem

# A value as one word for the shell.
quoted = '$(subst ','\'',$(1))'

# Certificates and requests are made again when what they are made from changed; keys never are.
KEY = $(CAPSTAN) pki key
CSR = $(CAPSTAN) pki csr --force
SIGN = $(CAPSTAN) pki sign --force --extensions req_ext
BUNDLE = $(CAPSTAN) pki bundle --force

##help:		print this help message
.PHONY: help
help:
	@sed -n 's/^##//p' $(MAKEFILE_LIST)

##clean:		remove the root's files from the current folder (folders of intermediates stay)
.PHONY: clean
clean:
	@rm -f $(FILES_TO_CLEAN)

##root-ca:	make the root CA's files (key and certificate) in the current folder
.PHONY: root-ca
root-ca: root-key.pem root-cert.pem

root-cert.pem: root-cert.csr root-key.pem
	@$(SIGN) --self-sign root-key.pem --csr $< --request-file root-ca.conf --days $(ROOTCA_DAYS) --out $@

root-cert.csr: root-key.pem root-ca.conf
	@$(CSR) --key $< --request-file root-ca.conf --out $@

root-key.pem:
	@$(KEY) --type $(ROOTCA_KEY_TYPE) --out $@

root-ca.conf:
	@$(CAPSTAN) pki root-ca --print-request-file $(crl_sign) --rootca-keysz $(ROOTCA_KEYSZ) \
		--rootca-org $(call quoted,$(ROOTCA_ORG)) --rootca-cn $(call quoted,$(ROOTCA_CN)) > $@

##<name>-cacerts:	make an intermediate CA signed by the root, in the folder <name>
.PHONY: %-cacerts
%-cacerts: %/cert-chain.pem
	@echo "done"

%/cert-chain.pem: %/ca-cert.pem root-cert.pem
	@$(BUNDLE) $^ --out $@
	@cp root-cert.pem $(dir $<)
	@echo "Intermediate inputs stored in $(dir $<)"

%/ca-cert.pem: %/cluster-ca.csr root-key.pem root-cert.pem
	@$(SIGN) --as-ca --ca-cert root-cert.pem --ca-key root-key.pem --csr $< \
		--request-file $(dir $<)intermediate.conf --days $(INTERMEDIATE_DAYS) --out $@

%/cluster-ca.csr: %/ca-key.pem %/intermediate.conf
	@$(CSR) --key $< --request-file $(dir $@)intermediate.conf --out $@

%/ca-key.pem:
	@mkdir -p $(dir $@)
	@$(KEY) --type $(INTERMEDIATE_KEY_TYPE) --out $@

%/intermediate.conf:
	@mkdir -p $(dir $@)
	@$(CAPSTAN) pki intermediate-cacerts $(call quoted,$*) --print-request-file $(crl_sign) \
		--intermediate-keysz $(INTERMEDIATE_KEYSZ) --intermediate-org $(call quoted,$(INTERMEDIATE_ORG)) \
		--intermediate-cn $(call quoted,$(INTERMEDIATE_CN)) --intermediate-san-dns $(call quoted,$(INTERMEDIATE_SAN_DNS)) > $@

##<namespace>-certs:	make an intermediate CA and a workload certificate for $SERVICE_ACCOUNT in <namespace>
.PHONY: %-certs
%-certs: %/workload-cert-chain.pem root-cert.pem
	@echo "done"

%/workload-cert-chain.pem: root-cert.pem %/ca-cert.pem %/workload-cert.pem
	@$(BUNDLE) $^ --out $@
	@cp root-cert.pem $(dir $@)root-cert.pem
	@echo "Intermediate and workload certs stored in $(dir $@)"

%/workload-cert.pem: %/workload.csr %/ca-cert.pem
	@$(SIGN) --ca-cert $(dir $<)ca-cert.pem --ca-key $(dir $<)ca-key.pem --csr $< \
		--request-file $(dir $<)workload.conf --days $(WORKLOAD_DAYS) --out $@

%/workload.csr: %/key.pem %/workload.conf
	@$(CSR) --key $< --request-file $(dir $@)workload.conf --out $@

%/key.pem:
	@mkdir -p $(dir $@)
	@$(KEY) --type $(WORKLOAD_KEY_TYPE) --out $@

%/workload.conf:
	@mkdir -p $(dir $@)
	@printf '%s\n' '[ req ]' 'encrypt_key = no' 'prompt = no' 'utf8 = yes' 'default_md = sha256' \
		'default_bits = $(INTERMEDIATE_KEYSZ)' 'req_extensions = req_ext' 'x509_extensions = req_ext' \
		'distinguished_name = req_dn' '[ req_ext ]' 'subjectKeyIdentifier = hash' \
		'basicConstraints = critical, CA:false' 'keyUsage = digitalSignature, keyEncipherment' \
		'extendedKeyUsage = serverAuth, clientAuth' 'subjectAltName=@san' '[ san ]' \
		$(call quoted,URI.1 = spiffe://$(TRUST_DOMAIN)/ns/$*/sa/$(SERVICE_ACCOUNT)) '[ req_dn ]' \
		$(call quoted,O = $(INTERMEDIATE_ORG)) $(call quoted,CN = $(WORKLOAD_CN)) $(call quoted,L = $*) > $@
