package scim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store"
)

const oneUser = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%s"}`

func TestRule_SCIM_1_a_source_takes_its_own_tokens_and_no_other(t *testing.T) {
	p := open(t)
	var log bytes.Buffer
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	next, other := token+"-2", token+"-of-another"
	sum := sha256.Sum256([]byte(next))
	t.Setenv("NEXT", "sha256:"+hex.EncodeToString(sum[:]))
	t.Setenv("OTHER", other)
	configs := map[directory.SourceID]Config{"corp": {Tokens: []secret.Ref{"env:SCIM_TOKEN", "env:NEXT"}}, "lab": {Tokens: []secret.Ref{"env:OTHER"}}}
	require.NoError(t, p.Replace(configs))
	ask := func(source, authorization string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.server.URL+Root+source+"/Users", http.NoBody)
		require.NoError(t, err)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		answer, err := p.server.Client().Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, body.String()
	}
	status, _ := ask("corp", "Bearer "+token)
	require.Equal(t, 200, status)
	status, _ = ask("corp", "bearer "+next)
	require.Equal(t, 200, status, "two tokens while the client changes from one to the other, one known by its hash")
	_, refusal := ask("corp", "")
	for name, c := range map[string][2]string{
		"none":             {"corp", ""},
		"a wrong one":      {"corp", "Bearer " + token + "x"},
		"part of it":       {"corp", "Bearer " + token[:10]},
		"its hash":         {"corp", "Bearer sha256:" + hex.EncodeToString(sum[:])},
		"another source's": {"corp", "Bearer " + other},
		"another scheme":   {"corp", "Basic " + token},
		"no such source":   {"nothing", "Bearer " + token},
		"no source":        {"", "Bearer " + token},
		"an empty one":     {"corp", "Bearer "},
	} {
		status, body := ask(c[0], c[1])
		require.Equal(t, 401, status, name)
		require.Equal(t, refusal, body, name)
	}
	// The old one ends with the next reading of the configuration; a fault in it
	// changes nothing.
	configs["corp"] = Config{Tokens: []secret.Ref{"env:MISSING"}}
	require.ErrorContains(t, p.Replace(configs), "source corp")
	status, _ = ask("corp", "Bearer "+token)
	require.Equal(t, 200, status)
	configs["corp"] = Config{Tokens: []secret.Ref{"env:NEXT"}}
	require.NoError(t, p.Replace(configs))
	status, _ = ask("corp", "Bearer "+token)
	require.Equal(t, 401, status)
	require.Contains(t, log.String(), "without a valid token")
	require.NotContains(t, log.String(), token)
	require.NotContains(t, refusal, token)
}

func TestConfigFaults(t *testing.T) {
	t.Setenv("SHORT", "hunter2")
	t.Setenv("HASH", "sha256:abcd")
	for want, c := range map[string]Config{
		"want one, or two":       {},
		"tokens: want one":       {Tokens: []secret.Ref{"env:A", "env:B", "env:C"}},
		"given by reference":     {Tokens: []secret.Ref{"hunter2"}},
		"references to secrets":  {Tokens: []secret.Ref{""}},
		"url: want an https URL": {Tokens: []secret.Ref{"env:A"}, URL: "http://ambit.example.com"},
	} {
		require.ErrorContains(t, c.Validate(), want)
		require.NotContains(t, c.Validate().Error(), "hunter2")
	}
	for want, ref := range map[string]secret.Ref{"shorter than 32": "env:SHORT", "no SHA-256": "env:HASH"} {
		_, err := Config{Tokens: []secret.Ref{ref}}.credentials()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	offline, err := NewOffline("corp", Config{Tokens: []secret.Ref{"env:SHORT"}})
	require.NoError(t, err)
	_, err = offline.Probe(t.Context())
	require.ErrorContains(t, err, "shorter than 32")
}

// slow sends a request whose body never ends, byte by byte, and returns what it is
// answered.
func slow(t *testing.T, p *place, done <-chan struct{}) string {
	conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %scorp/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", Root, token)
	require.NoError(t, err)
	stop := make(chan struct{})
	var sending sync.WaitGroup
	defer sending.Wait()
	defer close(stop)
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if _, err := conn.Write([]byte("1\r\n \r\n")); err != nil {
					return
				}
			}
		}
	})
	go func() {
		<-done
		_ = conn.SetReadDeadline(time.Now())
	}()
	b := make([]byte, 12)
	_, _ = conn.Read(b)
	return string(b)
}

func TestSlowBodiesAreBounded(t *testing.T) {
	p := open(t)
	p.bodyWithin = 300 * time.Millisecond
	began := time.Now()
	require.Equal(t, "HTTP/1.1 408", slow(t, p, t.Context().Done()))
	require.Less(t, time.Since(began), time.Minute) // it never ends by itself
	p = open(t)
	status, _, _ := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, strings.Repeat("a", maxBody)))
	require.Equal(t, 413, status)
	for name, body := range map[string]string{
		"values within values":  strings.Repeat(`{"a":[`, 1000),
		"an object of many":     "{" + strings.Repeat(`"%d":1,`, 600) + `"z":1}`,
		"not UTF-8":             `{"a":"` + "\xff" + `"}`,
		"a NUL":                 `{"a":"\u0000"}`,
		"a list for a resource": `[]`,
		"nothing":               ` `,
	} {
		for i := 0; strings.Contains(body, "%d"); i++ {
			body = strings.Replace(body, "%d", fmt.Sprint(i), 1)
		}
		status, _, answer := p.do(t, "POST", "/Users", body)
		require.Equal(t, 400, status, name)
		require.Contains(t, answer, "invalidSyntax", name)
	}
}

func TestRule_SCIM_9_under_load_clients_are_told_to_come_again(t *testing.T) {
	p := open(t)
	p.bodyWithin = time.Minute
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range maxRunning {
		clients.Go(func() { slow(t, p, done) })
	}
	require.Eventually(t, func() bool { return len((*p.sources.Load())["corp"].running) == maxRunning }, time.Minute, 5*time.Millisecond)
	status, header, body := p.do(t, "GET", "/Users", "")
	require.Equal(t, 429, status)
	require.Equal(t, "5", header.Get("Retry-After"))
	require.Contains(t, body, `"status":"429"`)
	close(done)
	clients.Wait()
	require.Eventually(t, func() bool { status, _, _ := p.do(t, "GET", "/Users", ""); return status == 200 }, time.Minute, 50*time.Millisecond)
}

// broken is a store in trouble.
type broken struct {
	Store
	err error
}

func (b broken) Push(context.Context, store.Push) (store.Pushed, error) {
	return store.Pushed{}, b.err
}

func TestRule_SCIM_9_a_store_in_trouble_is_no_500(t *testing.T) {
	p := open(t)
	whole := p.store
	for err, want := range map[error]int{
		store.ErrConflict:        429,
		context.DeadlineExceeded: 429,
		store.ErrReadOnly:        503,
		errors.New("disk gone"):  503,
	} {
		p.Handler.store = broken{whole, err}
		status, header, body := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, "ada"))
		require.Equal(t, want, status, err)
		require.NotEmpty(t, header.Get("Retry-After"))
		require.NotContains(t, body, "disk gone")
	}
}

func TestRule_SCIM_3_lists_are_paged_from_1(t *testing.T) {
	p := open(t)
	for i := range 12 {
		status, _, _ := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, fmt.Sprintf("user%02d", i)))
		require.Equal(t, 201, status)
	}
	for _, c := range []struct {
		query             string
		total, start, has int
	}{
		{"", 12, 1, 12},
		{"?startIndex=1&count=5", 12, 1, 5},
		{"?startIndex=11&count=5", 12, 11, 2},
		{"?startIndex=13&count=5", 12, 13, 0},
		{"?startIndex=-3&count=2", 12, 1, 2},
		{"?count=-1", 12, 1, 0},
		{"?filter=userName+sw+%22user%22&startIndex=11&count=5", 12, 11, 2},
		{"?filter=userName+sw+%22user0%22&count=3", 10, 1, 3},
		{"?filter=active+eq+true&startIndex=12", 12, 12, 1},
		{"?filter=active+eq+%22True%22", 12, 1, 12},
		{"?filter=not+(userName+eq+%22user00%22)", 11, 1, 11},
		{"?filter=userName+ne+%22user00%22", 11, 1, 11},
		{"?filter=emails+pr", 0, 1, 0},
	} {
		status, _, body := p.do(t, "GET", "/Users"+c.query, "")
		require.Equal(t, 200, status, c.query)
		require.Contains(t, body, fmt.Sprintf(`"itemsPerPage":%d`, c.has), c.query)
		require.Contains(t, body, fmt.Sprintf(`"totalResults":%d`, c.total), c.query)
		require.Contains(t, body, fmt.Sprintf(`"startIndex":%d`, c.start), c.query)
	}
}

func TestRule_SCIM_2_of_many_who_change_one_resource_each_has_an_effect(t *testing.T) {
	p := open(t)
	status, _, _ := p.do(t, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"G"}`)
	require.Equal(t, 201, status)
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			body := fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"members","value":[{"value":"m%d"}]}]}`, i)
			for {
				status, _, _ := p.do(t, "PATCH", "/Groups/id-1", body)
				if status != 429 {
					require.Equal(t, 204, status)
					return
				}
			}
		})
	}
	clients.Wait()
	members, err := p.store.PushedMembers(t.Context(), "corp", "id-1")
	require.NoError(t, err)
	require.Len(t, members, 6)
}
