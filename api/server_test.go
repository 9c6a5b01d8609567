package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scoremesh/decision"
)

// serve runs the world's server on a free port until the test ends, and returns its address.
func (w *world) serve(t *testing.T) string {
	t.Helper()
	l, err := w.server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.server.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func anyPort(o *Options) { o.Config.Listen = "127.0.0.1:0" }

func client(t *testing.T, config *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: config}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func post(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("POST", url+"/v1/score", strings.NewReader(leastBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", jsonType)
	r.Header.Set("Authorization", "Bearer "+scoreKey)
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestShutdownWaitsForWhatIsInFlight(t *testing.T) {
	w := newWorld(t, anyPort)
	url := "http://" + w.serve(t)
	started, release := make(chan struct{}), make(chan struct{})
	w.score = func(_ context.Context, tr *decision.Transaction, _ bool) (*decision.Answer, error) {
		close(started)
		<-release
		return decided(tr, decision.Approve), nil
	}
	status := make(chan int)
	c := client(t, nil)
	go func() {
		code, _ := post(t, c, url)
		status <- code
	}()
	<-started
	ended := make(chan error)
	go func() { ended <- w.server.Shutdown(context.Background()) }()
	// The listener is closed at once, while the request goes on.
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-status; got != 200 {
		t.Errorf("request in flight: got %d, want 200", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t, anyPort)
	url := "http://" + w.serve(t)
	started := make(chan struct{})
	w.score = func(ctx context.Context, _ *decision.Transaction, _ bool) (*decision.Answer, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	failed := make(chan error)
	c := client(t, nil)
	go func() {
		r, _ := http.NewRequest("POST", url+"/v1/score", strings.NewReader(leastBody))
		r.Header = http.Header{"Content-Type": {jsonType}, "Authorization": {"Bearer " + scoreKey}}
		_, err := c.Do(r)
		failed <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.server.Shutdown(ctx); err == nil {
		t.Error("shutdown: got nil, want the context's error")
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
}

func TestABodyTooLargeEndsTheConnection(t *testing.T) {
	w := newWorld(t, anyPort)
	conn, err := net.Dial("tcp", w.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+scoreKey+
		"\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 413 ")) || !bytes.Contains(answer, []byte("Connection: close")) {
		t.Errorf("got %s, want 413 and the end", answer)
	}
}

func TestASlowHeaderIsCutOff(t *testing.T) {
	w := newWorld(t, anyPort, func(o *Options) { o.Config.ReadHeaderTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("tcp", w.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	// The read ends because the server hangs up; without its timeout it would end by this one, with an error.
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("got %v, want the connection closed", err)
	}
}

func TestKeysAreSwappedWholeOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	try := func(key string) int {
		return w.do("POST", "/v1/score", leastBody, "Authorization: bearer "+key).Code
	}
	if got := try(scoreKey); got != 200 {
		t.Fatalf("old key: got %d, want 200", got)
	}
	for name, keys := range map[string][]Key{"none": nil, "one of two is bad": {{Name: "new", SHA256: HashKey("new"), Scopes: []Scope{ScopeScore}}, {Name: "bad"}}} {
		if err := w.server.SetKeys(keys); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if old, new := try(scoreKey), try("new"); old != 200 || new != 401 {
		t.Errorf("after refused swaps: got %d and %d, want 200 and 401", old, new)
	}
	if err := w.server.SetKeys([]Key{{Name: "new", SHA256: strings.ToUpper(HashKey("new")), Scopes: []Scope{ScopeScore}}}); err != nil {
		t.Fatal(err)
	}
	if old, new := try(scoreKey), try("new"); old != 401 || new != 200 {
		t.Errorf("after the swap: got %d and %d, want 401 and 200", old, new)
	}
	if log := w.log.String(); !strings.Contains(log, `"message":"request not allowed"`) || strings.Contains(log, scoreKey) {
		t.Errorf("log: got %s, want the refusal without the key", log)
	}
}

func TestWithoutAuthEverybodyMayDoEverything(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Config.Auth, o.Config.Keys = AuthOff, nil })
	if rec := w.do("POST", "/v1/score", leastBody, "Authorization:"); rec.Code != 200 {
		t.Errorf("score: got %d, want 200", rec.Code)
	}
	if rec := w.do("GET", "/v1/entities/card/c-77", "", "Authorization:"); rec.Code != 200 {
		t.Errorf("entity: got %d, want 200", rec.Code)
	}
	if err := w.server.SetKeys(testKeys()); err == nil {
		t.Error("keys were accepted that nobody is asked for")
	}
}

func TestAFloodOfRefusalsIsNotAFloodOfLines(t *testing.T) {
	w := newWorld(t)
	for range 500 {
		w.do("POST", "/v1/score", leastBody, "Authorization: Bearer nope")
	}
	// Twenty lines a second; the loop takes a few seconds at worst.
	if got := strings.Count(w.log.String(), "\n"); got == 0 || got >= 400 {
		t.Errorf("got %d lines, want some and far fewer than 500", got)
	}
}

// writeCertificate writes a self-signed certificate for 127.0.0.1 and returns its pool.
func writeCertificate(t *testing.T, name string, files TLS) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{files.CertFile: certPEM,
		files.KeyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

func TestTLSServesTheCertificateThatWasReadLast(t *testing.T) {
	dir := t.TempDir()
	files := TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	first := writeCertificate(t, "first", files)
	w := newWorld(t, anyPort, func(o *Options) { o.Config.TLS = files })
	addr := w.serve(t)
	if code, body := post(t, client(t, &tls.Config{RootCAs: first}), "https://"+addr); code != 200 {
		t.Errorf("got %d %s, want 200", code, body)
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: first, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	if err := os.WriteFile(files.CertFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.server.ReloadCertificate(); err == nil {
		t.Error("nonsense was accepted as a certificate")
	}
	if code, _ := post(t, client(t, &tls.Config{RootCAs: first}), "https://"+addr); code != 200 {
		t.Errorf("after a refused reload: got %d, want 200", code)
	}
	second := writeCertificate(t, "second", files)
	if err := w.server.ReloadCertificate(); err != nil {
		t.Fatal(err)
	}
	if code, _ := post(t, client(t, &tls.Config{RootCAs: second}), "https://"+addr); code != 200 {
		t.Errorf("after the reload: got %d, want 200", code)
	}
}
