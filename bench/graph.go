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
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/testdata/company"
)

const graphSource = `
    entra:
      tenant_id: %q
      client_id: %q
      client_secret: %q
      graph_endpoint: %q
      authority: %[4]q
      ca_file: %[5]q
`

// measureGraph compares a full sync from Microsoft Graph with G: fetching and
// decoding the pages of the same delta rounds with net/http and encoding/json
// alone, from the same server, which runs in this process.
func measureGraph(ctx context.Context, o options) (_ []line, err error) {
	dir, err := os.MkdirTemp("", "ambit-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := graphtest.Start(dir, graphtest.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	c := company.Large(o.people)
	for i := range c.People {
		c.People[i].Home = company.Entra
	}
	for i := range c.Groups {
		c.Groups[i].Home = company.Entra
	}
	server.Load(c)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(graphtest.ClientSecret), 0o600); err != nil {
		return nil, err
	}
	of := directory{
		source: fmt.Sprintf(graphSource, graphtest.Tenant, graphtest.ClientID, "file:"+secret, server.URL, server.CAFile),
		unit:   "officeLocation", user: somebody(c).Mail,
	}
	var yardsticks, fulls, ratios []float64
	for range o.runs {
		s, err := sync(ctx, o, of)
		if err != nil {
			return nil, err
		}
		took, err := fetch(ctx, server)
		if err != nil {
			return nil, err
		}
		yardsticks, fulls, ratios = append(yardsticks, float64(took)), append(fulls, float64(s.full)), append(ratios, float64(s.full)/float64(took))
		fmt.Fprintf(os.Stderr, "  G %s, full sync %s, peak %.0f MB\n", took, s.full, s.peak)
	}
	ofFull := middle(ratios)
	return []line{
		{
			what:   fmt.Sprintf("G: fetching and decoding the Graph pages of as many users, groups and memberships (%d, %d, %d) with net/http alone", len(c.People), len(c.Groups), o.people*4),
			figure: duration(middle(yardsticks).median).String(),
		},
		{
			what: "Full sync from Graph, from the daemon's start on an empty SQLite store to the first check that is allowed", figure: duration(middle(fulls).median).String(),
			ratio: ofFull.of("G"), goal: 3, got: ofFull.median,
		},
	}, nil
}

// fetch is the yardstick G: it begins the rounds as the daemon did, of users and
// groups side by side, and follows their links.
func fetch(ctx context.Context, server *graphtest.Server) (time.Duration, error) {
	first := map[string]graphtest.Request{}
	for _, r := range server.Requests() {
		path, query, _ := strings.Cut(r.URI, "?")
		if strings.HasSuffix(path, "/delta()") && !r.InBatch && !strings.Contains(strings.ToLower(query), "token=") {
			first[path] = r
		}
	}
	if len(first) != 2 {
		return 0, fmt.Errorf("the daemon began %d rounds, not those of users and groups", len(first))
	}
	pem, err := os.ReadFile(server.CAFile)
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range first {
		group.Go(func() error {
			for next := server.URL + r.URI; next != ""; {
				var err error
				if next, err = fetchPage(ctx, client, next, r.Header.Get("Authorization")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return time.Since(began), err
}

// fetchPage returns the link to the next page, empty after the last.
func fetchPage(ctx context.Context, client *http.Client, url, authorization string) (next string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", authorization)
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(body))
	}
	var page struct {
		Value []map[string]any `json:"value"`
		Next  string           `json:"@odata.nextLink"`
	}
	err = json.Unmarshal(body, &page)
	return page.Next, err
}
