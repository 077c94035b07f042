package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/user"
	"strings"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/configs"
)

// client asks a daemon, wherever it is: every command is a client of the API.
type client struct {
	http  *http.Client
	base  string
	token string
	close func() error
}

// connect finds the daemon, or opens the store itself for this command.
func (c *command) connect(ctx context.Context) (*client, error) {
	running, config, err := c.daemon()
	if running != nil || err != nil {
		return running, err
	}
	d, err := assemble(ctx, config, c.err)
	if err != nil {
		return nil, err
	}
	name := "unknown"
	if who, err := user.Current(); err == nil {
		name = who.Username
	}
	return &client{http: &http.Client{Transport: inProcess{d.api.LocalHandler(func(context.Context) string { return name })}}, base: "http://ambit", close: d.close}, nil
}

// daemon finds a running daemon: --server, or the socket of the one on this host.
// The client is nil if there is none; config is set then.
func (c *command) daemon() (*client, *configs.Config, error) {
	if c.server != "" {
		remote, err := c.remote()
		return remote, nil, err
	}
	config, err := c.load()
	if err != nil {
		return nil, nil, err
	}
	if path := config.SocketPath(); path != "" {
		conn, err := net.Dial("unix", path)
		switch {
		case err == nil:
			_ = conn.Close() // it was a test
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}
			return &client{
				http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://ambit",
				close: func() error { return nil },
			}, config, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, nil, hinted{fmt.Errorf("open %s: %w", path, err), "run as the daemon's user, or use --server URL --token-file FILE"}
		}
	}
	return nil, config, nil
}

func (c *command) remote() (*client, error) {
	base, err := url.Parse(c.server)
	if err != nil || base.Host == "" {
		return nil, usageError{fmt.Errorf("--server %q: want a URL such as https://ambit.example.com:8443", c.server)}
	}
	host := base.Hostname()
	if ip := net.ParseIP(host); base.Scheme != "https" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usageError{fmt.Errorf("--server %s: a token is sent over https only", c.server)}
	}
	if c.tokenFile == "" {
		return nil, usageError{errors.New("--server needs --token-file, a file with an access token of the daemon's issuer")}
	}
	token, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return nil, usageError{fmt.Errorf("read token: %w", err)}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("read certificates: %w", err)}
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError{fmt.Errorf("--ca-file %s holds no certificate in PEM", c.caFile)}
		}
	}
	return &client{
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: strings.TrimSuffix(c.server, "/"), token: strings.TrimSpace(string(token)),
		close: func() error { transport.CloseIdleConnections(); return nil },
	}, nil
}

// inProcess answers requests without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	p.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// do sends in as JSON, if it is not nil, and reads the answer into out, if it is
// not nil. An answer that is a problem is returned as *api.Problem.
func (c *client) do(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	w, err := c.http.Do(r)
	if err != nil {
		return hinted{fmt.Errorf("ask the daemon: %w", err), "is it running, and is its certificate one that --ca-file verifies?"}
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if w.StatusCode >= 300 {
		problem := &api.Problem{}
		if err := json.Unmarshal(answer, problem); err != nil || problem.Detail == "" {
			return fmt.Errorf("%s %s: %s", method, path, w.Status)
		}
		return problem
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// ask connects, calls f and closes.
func (c *command) ask(ctx context.Context, f func(*client) error) error {
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(client), client.close())
}
