// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const year = 365 * 24 * time.Hour

// pki is the folder with the control plane's certificates and keys: NAME.crt and NAME.key in PEM.
type pki struct{ dir string }

func pkiIn(state string) pki { return pki{filepath.Join(state, "pki")} }

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func readPEM(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	return block.Bytes, nil
}

// sign gives template a serial number and a new key, signs it, and writes both files; without an issuer
// it signs itself.
func (p pki) sign(name string, template, issuer *x509.Certificate, issuerKey crypto.Signer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)); err != nil {
		return err
	}
	template.SerialNumber.Add(template.SerialNumber, big.NewInt(1))
	template.NotBefore = time.Now().Add(-time.Hour)
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return err
	}
	if err := writeKey(p.path(name+".key"), key); err != nil {
		return err
	}
	return writePEM(p.path(name+".crt"), "CERTIFICATE", der, 0o644)
}

func (p pki) newCA(name, commonName string) error {
	return p.sign(name, &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotAfter:              time.Now().Add(10 * year),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
	}, nil, nil)
}

func (p pki) loadCA() (*x509.Certificate, crypto.Signer, error) {
	der, err := readPEM(p.path("ca.crt"))
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if der, err = readPEM(p.path("ca.key")); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no signing key", p.path("ca.key"))
	}
	return certificate, signer, nil
}

func (p pki) issue(name string, template *x509.Certificate, usage x509.ExtKeyUsage, lifetime time.Duration) error {
	ca, key, err := p.loadCA()
	if err != nil {
		return err
	}
	template.NotAfter = time.Now().Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return p.sign(name, template, ca, key)
}

// issueClient makes the certificate of user, who is in groups.
func (p pki) issueClient(name, user string, groups []string, lifetime time.Duration) error {
	subject := pkix.Name{CommonName: user, Organization: groups}
	return p.issue(name, &x509.Certificate{Subject: subject}, x509.ExtKeyUsageClientAuth, lifetime)
}

func (p pki) issueServer() error {
	return p.issue("apiserver", &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 96, 0, 1)},
	}, x509.ExtKeyUsageServerAuth, year)
}

// newTokenKey makes the key that signs tokens of service accounts: RS256, as kubeadm's.
func (p pki) newTokenKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(p.path("sa.pub"), "PUBLIC KEY", public, 0o644); err != nil {
		return err
	}
	return writeKey(p.path("sa.key"), key)
}

// ensure makes the whole set, or keeps the one that is there: a server that is started again on its
// directory trusts the certificates and tokens of before. The token key is written last and marks a
// complete set.
func (p pki) ensure() error {
	if _, err := os.Stat(p.path("sa.key")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return p.newCA("ca", "kubelite-ca") },
		p.issueServer,
		func() error { return p.issueClient("admin", "kubernetes-admin", []string{"system:masters"}, year) },
		func() error { return p.issueClient("controller-manager", "system:kube-controller-manager", nil, year) },
		p.newTokenKey,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("pki: %w", err)
		}
	}
	return nil
}

// kubeconfig writes one that connects to url with the certificate NAME.crt.
func (p pki) kubeconfig(file, url, name string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: kubelite
  cluster: {server: %q, certificate-authority: %q}
users:
- name: %[3]q
  user: {client-certificate: %[4]q, client-key: %[5]q}
contexts:
- name: kubelite
  context: {cluster: kubelite, user: %[3]q}
current-context: kubelite
`, url, p.path("ca.crt"), name, p.path(name+".crt"), p.path(name+".key"))
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// kubeconfigs writes DIR/NAME.kubeconfig for each name.
func (p pki) kubeconfigs(url string, names ...string) error {
	for _, name := range names {
		if err := p.kubeconfig(filepath.Join(filepath.Dir(p.dir), name+".kubeconfig"), url, name); err != nil {
			return err
		}
	}
	return nil
}

func cmdPKI(args []string) int {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "state directory; certificates and keys go to DIR/pki")
	url := flags.String("server", "", "write DIR/admin.kubeconfig and DIR/controller-manager.kubeconfig for this URL, too")
	flags.Parse(args)
	state, err := filepath.Abs(*dir)
	if err != nil || *dir == "" {
		return fail("pki: -dir is needed")
	}
	p := pkiIn(state)
	if err := p.ensure(); err != nil {
		return fail(err)
	}
	if *url == "" {
		return 0
	}
	if err := p.kubeconfigs(*url, "admin", "controller-manager"); err != nil {
		return fail(err)
	}
	return 0
}

func cmdCert(args []string) int {
	flags := flag.NewFlagSet("cert", flag.ExitOnError)
	dir := flags.String("dir", "", "state directory")
	name := flags.String("name", "", "write DIR/pki/NAME.crt and DIR/pki/NAME.key")
	user := flags.String("cn", "", "the user's name")
	groups := flags.String("o", "", "the user's groups, separated by commas")
	url := flags.String("server", "", "write DIR/NAME.kubeconfig for this URL, too")
	lifetime := flags.Duration("ttl", 24*time.Hour, "lifetime")
	flags.Parse(args)
	state, err := filepath.Abs(*dir)
	if err != nil || *dir == "" || *name == "" || *user == "" {
		return fail("cert: -dir, -name and -cn are needed")
	}
	p := pkiIn(state)
	members := strings.FieldsFunc(*groups, func(r rune) bool { return r == ',' })
	if err := p.issueClient(*name, *user, members, *lifetime); err != nil {
		return fail(fmt.Errorf("cert: %w", err))
	}
	if *url == "" {
		return 0
	}
	if err := p.kubeconfigs(*url, *name); err != nil {
		return fail(fmt.Errorf("cert: %w", err))
	}
	return 0
}
