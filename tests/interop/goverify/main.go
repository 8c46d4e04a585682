// SPDX-License-Identifier: Apache-2.0

// Command goverify says what Go's crypto/x509 makes of PKI files, one fact per line, for tests to compare
// with what Capstan says:
//
//	goverify chain ROOTS CHAIN UNIXTIME   verifies CHAIN (leaf first) and prints each certificate
//	goverify csr FILE                     checks a certification request's signature
//	goverify crl FILE ISSUER              checks a revocation list's signature
package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func certificates(path string) []*x509.Certificate {
	rest, err := os.ReadFile(path)
	check(err)
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return list
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		check(err)
		list = append(list, certificate)
	}
}

func key(certificate *x509.Certificate) string {
	switch public := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", public.Size()*8)
	case *ecdsa.PublicKey:
		return "ECDSA " + public.Curve.Params().Name
	}
	return certificate.PublicKeyAlgorithm.String()
}

func describe(certificate *x509.Certificate) {
	fmt.Println("subject:", certificate.Subject)
	fmt.Println("issuer:", certificate.Issuer)
	fmt.Println("common name:", certificate.Subject.CommonName)
	fmt.Println("serial:", certificate.SerialNumber)
	fmt.Println("not before:", certificate.NotBefore.Unix())
	fmt.Println("not after:", certificate.NotAfter.Unix())
	fmt.Println("key:", key(certificate))
	fmt.Println("algorithm:", certificate.SignatureAlgorithm)
	fmt.Println("ca:", certificate.IsCA)
	fmt.Println("usage:", int(certificate.KeyUsage))
	fmt.Println("ski:", hex.EncodeToString(certificate.SubjectKeyId))
	fmt.Println("aki:", hex.EncodeToString(certificate.AuthorityKeyId))
	fmt.Println("dns:", certificate.DNSNames)
	fmt.Println("ips:", certificate.IPAddresses)
	fmt.Println("emails:", certificate.EmailAddresses)
	fmt.Println("uris:", certificate.URIs)
	fmt.Println("signs itself:", certificate.CheckSignatureFrom(certificate) == nil)
}

func verifyChain(roots, chain []*x509.Certificate, now time.Time) {
	anchors, rest := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range roots {
		anchors.AddCert(root)
	}
	for _, certificate := range chain {
		rest.AddCert(certificate)
		describe(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: rest, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	fmt.Println("trusted:", err == nil)
}

func block(path string) []byte {
	text, err := os.ReadFile(path)
	check(err)
	first, _ := pem.Decode(text)
	if first == nil {
		check(fmt.Errorf("%s: no PEM block", path))
	}
	return first.Bytes
}

func main() {
	if len(os.Args) < 3 {
		check(fmt.Errorf("usage: goverify chain|csr|crl FILE..."))
	}
	switch os.Args[1] {
	case "chain":
		seconds, err := strconv.ParseInt(os.Args[4], 10, 64)
		check(err)
		verifyChain(certificates(os.Args[2]), certificates(os.Args[3]), time.Unix(seconds, 0))
	case "csr":
		request, err := x509.ParseCertificateRequest(block(os.Args[2]))
		check(err)
		check(request.CheckSignature())
		fmt.Println("subject:", request.Subject)
		fmt.Println("uris:", request.URIs)
	case "crl":
		list, err := x509.ParseRevocationList(block(os.Args[2]))
		check(err)
		check(list.CheckSignatureFrom(certificates(os.Args[3])[0]))
		fmt.Println("number:", list.Number)
		fmt.Println("revoked:", len(list.RevokedCertificateEntries))
	}
}
