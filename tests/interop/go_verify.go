// SPDX-License-Identifier: Apache-2.0

// What Go's crypto/x509 says of a chain: go_verify ROOTS CHAIN UNIX_TIME any|server|client. Prints "trusted", or
// why not.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"
)

func read(path string) []*x509.Certificate {
	rest, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return certificates
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			fmt.Println(err)
			os.Exit(0)
		}
		certificates = append(certificates, certificate)
	}
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}

func main() {
	chain := read(os.Args[2])
	seconds, err := strconv.ParseInt(os.Args[3], 10, 64)
	if err != nil {
		panic(err)
	}
	usage := map[string]x509.ExtKeyUsage{
		"any": x509.ExtKeyUsageAny, "server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth,
	}[os.Args[4]]
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots:         pool(read(os.Args[1])),
		Intermediates: pool(chain[1:]),
		CurrentTime:   time.Unix(seconds, 0),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("trusted")
}
