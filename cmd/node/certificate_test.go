package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"scoremesh/api"
)

// certificate returns a self-signed certificate and its key, in PEM.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", signed), block("PRIVATE KEY", secret)
}

func TestAReloadWithABadCertificateChangesNeitherKeysNorPolicy(t *testing.T) {
	s := newSite(t)
	// The certificate is asked for by an edge of its own, beside the one that serves.
	cert, key := certificate(t)
	s.write("cert.pem", cert)
	s.write("key.pem", key)
	s.change("node.yaml", `listen: "127.0.0.1:0",`, `listen: "127.0.0.1:0", tls: {cert_file: cert.pem, key_file: key.pem},`)
	config, err := LoadConfig(s.file, noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	secure, err := newService(config, s.service.log)
	if err != nil {
		t.Fatal(err)
	}
	secure.node.region.Store(s.service.node.region.Load())

	other, _ := certificate(t)
	s.write("cert.pem", other) // not of this key
	s.change("policy.yaml", "version: 1", "version: 2")
	s.change("node.yaml", api.HashKey("first"), api.HashKey("second"))
	if err := secure.reload(s.file); err == nil || !strings.Contains(err.Error(), "load certificate") {
		t.Errorf("got error %v, want one of the certificate", err)
	}
	if status, answer := s.score("first"); status != http.StatusOK || answer.Versions.Policy != "demo@1" {
		t.Errorf("afterwards: got status %d by policy %q, want 200 by demo@1", status, answer.Versions.Policy)
	}
	request := httptest.NewRequest(http.MethodPost, "/v1/score", nil)
	request.Header.Set("Authorization", "Bearer second")
	recorder := httptest.NewRecorder()
	if secure.edge.Handler().ServeHTTP(recorder, request); recorder.Code != http.StatusUnauthorized {
		t.Errorf("the new key: got status %d, want 401", recorder.Code)
	}
	s.write("cert.pem", cert)
	if err := secure.reload(s.file); err != nil {
		t.Errorf("with the right certificate: got error %v", err)
	}
	if _, answer := s.score("first"); answer.Versions.Policy != "demo@2" {
		t.Errorf("with the right certificate: got policy %q, want demo@2", answer.Versions.Policy)
	}
}
