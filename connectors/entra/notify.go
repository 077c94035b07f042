package entra

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"golang.org/x/time/rate"

	"github.com/ambit-iam/ambit/directory"
)

// Notifications let Graph tell that something has changed. What has, a round finds
// out: a notification is a hint to read now, and its absence means nothing (Rules
// GRAPH-38, GRAPH-39).
type Notifications struct {
	// URL is the https address by which Graph reaches this source's endpoint.
	URL string `yaml:"url,required"`
}

// Validate reports a URL that Graph does not take.
func (n Notifications) Validate() error {
	u, err := url.Parse(n.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("notifications.url: want https://host/path, not %q", n.URL)
	}
	return nil
}

const (
	// subscriptionLife is short of what Graph allows (Rule GRAPH-37): what a process
	// that was killed leaves behind is gone in a day.
	subscriptionLife = 24 * time.Hour
	renewEvery       = subscriptionLife / 2
	// noticeGap is how long further notifications are gathered after one.
	noticeGap = 5 * time.Second
	// subscribeAgain is how long to wait where Graph refused to subscribe.
	subscribeAgain = 5 * time.Minute
	// unsubscribeWithin is how long the end may take.
	unsubscribeWithin = 10 * time.Second

	maxNotice          = 1 << 20 // bytes
	maxValidationToken = 4096    // bytes
	// groupRead is needed for notifications of groups, and for nothing else.
	groupRead = "Group.Read.All"
)

// hook is what the endpoint and the watch have in common.
type hook struct {
	mu sync.Mutex // held while something is sent or forgotten
	// state is the secret that notifications must bring; empty while nobody watches.
	state string

	changed chan struct{}
	expired chan string // a lifecycle event
	after   time.Time   // when to subscribe again
	renew   time.Duration

	call  func(ctx context.Context, text string) error // nil: no other process
	calls *rate.Limiter
}

func newHook() *hook {
	return &hook{changed: make(chan struct{}, 1), expired: make(chan string, 1), renew: renewEvery, calls: rate.NewLimiter(rate.Every(callsEvery), callsBurst)}
}

// expect lets notifications with the secret in; "" lets none. Those from before are
// forgotten.
func (h *hook) expect(state string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
	for len(h.changed)+len(h.expired) > 0 {
		select {
		case <-h.changed:
		case <-h.expired:
		}
	}
}

// take wakes the watch, if the notification has the secret, which hash is the
// SHA-256 of (Rule GRAPH-39). It is false where nobody watches.
func (h *hook) take(hash [sha256.Size]byte, event string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := sha256.Sum256([]byte(h.state))
	if h.state == "" || subtle.ConstantTimeCompare(hash[:], own[:]) != 1 {
		return h.state != "" // a stranger, or a subscription from before
	}
	switch event {
	case "reauthorizationRequired", "subscriptionRemoved":
		select {
		case h.expired <- event:
		default: // it is known
		}
	default: // something has changed, or was missed
		select {
		case h.changed <- struct{}{}:
		default: // it is known
		}
	}
	return true
}

// Watch subscribes to the changes of users and of groups, and keeps it so until the
// context ends.
func (s *Source) Watch(ctx context.Context, _ directory.Start, changed func()) error {
	if s.config.Notifications == nil {
		return nil
	}
	h, g := s.hook, s.graph
	if wait := h.after.Sub(g.now()); wait > 0 {
		if err := g.sleep(ctx, wait); err != nil {
			return err
		}
	}
	state := rand.Text() + rand.Text()
	h.expect(state)
	defer h.expect("")
	var ids []string
	defer func() { s.unsubscribe(ctx, ids) }()
	for _, resource := range [...]string{"users", "groups"} {
		id, err := s.subscribe(ctx, resource, state)
		if err != nil {
			h.after = g.now().Add(subscribeAgain)
			return fmt.Errorf("subscribe to changes of %s: %w", resource, incomplete(err))
		}
		ids = append(ids, id)
	}
	changed() // perhaps before there were subscriptions
	renewal := time.NewTicker(h.renew)
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.changed:
			changed()
			if err := g.sleep(ctx, noticeGap); err != nil {
				return err
			}
		case event := <-h.expired:
			if event == "subscriptionRemoved" {
				return errors.New("a subscription was ended by Graph")
			}
			if err := s.renew(ctx, ids); err != nil {
				return err
			}
		case <-renewal.C:
			if err := s.renew(ctx, ids); err != nil {
				return err
			}
		}
	}
}

// of makes a request below /subscriptions.
func (s *Source) of(method abstractions.HttpMethod, id, needs string, body map[string]any) (request, error) {
	r := request{needs: needs, build: func() (*abstractions.RequestInformation, error) {
		template := "{+baseurl}/subscriptions"
		if id != "" {
			template += "/" + url.PathEscape(id)
		}
		return abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(method, template, map[string]string{}), nil
	}}
	if body != nil {
		var err error
		if r.body, err = json.Marshal(body); err != nil {
			return r, fmt.Errorf("write a subscription: %w", err)
		}
	}
	return r, nil
}

func (s *Source) expires() string {
	return s.graph.now().Add(subscriptionLife).UTC().Format(time.RFC3339)
}

// subscribe asks Graph to tell of changes (Rule GRAPH-37): new objects are reported
// as updated ones.
func (s *Source) subscribe(ctx context.Context, resource, state string) (string, error) {
	r, err := s.of(abstractions.POST, "", map[string]string{"users": "User.Read.All", "groups": groupRead}[resource], map[string]any{
		"resource": resource, "changeType": "updated,deleted", "clientState": state, "expirationDateTime": s.expires(),
		"notificationUrl": s.config.Notifications.URL, "lifecycleNotificationUrl": s.config.Notifications.URL,
	})
	if err != nil {
		return "", err
	}
	var made struct{ ID string }
	if err := s.graph.get(ctx, r, &made); err != nil {
		return "", err
	}
	if made.ID == "" {
		return "", fmt.Errorf("%w: Graph gave a subscription without an id", directory.ErrIncomplete)
	}
	return made.ID, nil
}

// renew makes the subscriptions last longer. One that is gone ends the watch, to
// begin anew.
func (s *Source) renew(ctx context.Context, ids []string) error {
	for _, id := range ids {
		r, err := s.of(abstractions.PATCH, id, groupRead, map[string]any{"expirationDateTime": s.expires()})
		if err == nil {
			err = s.graph.get(ctx, r, nil)
		}
		if err != nil {
			return fmt.Errorf("renew a subscription: %w", incomplete(err))
		}
	}
	return nil
}

// unsubscribe ends the subscriptions, in as far as Graph can be asked; they would
// end by themselves.
func (s *Source) unsubscribe(ctx context.Context, ids []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unsubscribeWithin)
	defer cancel()
	for _, id := range ids {
		if r, err := s.of(abstractions.DELETE, id, groupRead, nil); err == nil {
			_ = s.graph.get(ctx, r, nil) // see above
		}
	}
	s.graph.wire.base.CloseIdleConnections()
}

// ServeHTTP is the endpoint that Graph is told of. Anybody can reach it: it takes
// nothing over, and wakes the watch at most.
func (s *Source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "this takes notifications, by POST", http.StatusMethodNotAllowed)
		return
	}
	if token := r.URL.Query().Get("validationToken"); token != "" {
		if len(token) > maxValidationToken {
			http.Error(w, "the validation token is too long", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(token)) // who asked may have gone
		return
	}
	var said struct {
		Value []struct{ ClientState, LifecycleEvent string }
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNotice)).Decode(&said); err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "this is no notification of Graph", status)
		return
	}
	var elsewhere []string
	for _, n := range said.Value {
		hash := sha256.Sum256([]byte(n.ClientState))
		if s.hook.take(hash, n.LifecycleEvent) {
			continue
		}
		if text := callText(hash, n.LifecycleEvent); !slices.Contains(elsewhere, text) {
			elsewhere = append(elsewhere, text)
		}
	}
	if err := s.handOn(r.Context(), elsewhere); err != nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "the notification could not be handed on: send it again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// How much is handed on to the process that watches: Graph's own notifications are
// few, and a stranger's are not to keep others busy.
const (
	maxCalls   = 4 // of one request
	callsEvery = 200 * time.Millisecond
	callsBurst = 20
)

// CallBy lets notifications that come where nobody watches be handed on, by call, to
// the process that does, which takes them by Called: with many machines Graph reaches
// any of them. It must be set before the first notification.
func (s *Source) CallBy(call func(ctx context.Context, text string) error) { s.hook.call = call }

// Called takes what another process, or this one, has handed on.
func (s *Source) Called(text string) {
	digest, event, _ := strings.Cut(text, " ")
	var hash [sha256.Size]byte
	if n, err := hex.Decode(hash[:], []byte(digest)); err == nil && n == len(hash) {
		s.hook.take(hash, event)
	}
}

// callText is a notification as it is handed on: without the secret, which whoever
// watches knows, and with the events that are known.
func callText(state [sha256.Size]byte, event string) string {
	if event != "reauthorizationRequired" && event != "subscriptionRemoved" {
		event = ""
	}
	return hex.EncodeToString(state[:]) + " " + event
}

func (s *Source) handOn(ctx context.Context, texts []string) error {
	if s.hook.call == nil || len(texts) > maxCalls {
		return nil // nobody else is there, or it is not Graph that speaks
	}
	for _, text := range texts {
		if !s.hook.calls.Allow() {
			return errors.New("too many notifications in a second")
		}
		if err := s.hook.call(ctx, text); err != nil {
			return err
		}
	}
	return nil
}
