package graphtest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// subscription is one to the changes of users or of groups (Rule GRAPH-37).
type subscription struct {
	ID           string    `json:"id"`
	Resource     string    `json:"resource"`
	ChangeType   string    `json:"changeType"`
	URL          string    `json:"notificationUrl"`
	LifecycleURL string    `json:"lifecycleNotificationUrl,omitempty"`
	ClientState  string    `json:"clientState,omitempty"`
	Expires      time.Time `json:"expirationDateTime"`
}

// longestSubscription is of users and groups (Rule GRAPH-37).
const longestSubscription = 41760 * time.Minute

// Subscriptions returns the resources that are subscribed to now, sorted.
func (s *Server) Subscriptions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, x := range s.live() {
		out = append(out, x.Resource)
	}
	slices.Sort(out)
	return out
}

// DropSubscriptions ends all subscriptions without a word.
func (s *Server) DropSubscriptions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions = nil
}

func (s *Server) live() []*subscription {
	s.subscriptions = slices.DeleteFunc(s.subscriptions, func(x *subscription) bool { return !x.Expires.After(s.options.Now()) })
	return s.subscriptions
}

// subscribe answers below /subscriptions.
func (s *Server) subscribe(path string, r *http.Request) answer {
	invalid := func(why string) answer { return refuse(http.StatusBadRequest, "ValidationError", why) }
	latest := s.options.Now().Add(longestSubscription)
	if id := strings.TrimPrefix(path, "/"); id != "" {
		i := slices.IndexFunc(s.live(), func(x *subscription) bool { return x.ID == id })
		switch {
		case i < 0:
			return notFound(id)
		case r.Method == http.MethodDelete:
			s.subscriptions = slices.Delete(s.subscriptions, i, i+1)
			return answer{status: http.StatusNoContent, header: http.Header{}}
		}
		var renewal subscription
		if r.Method != http.MethodPatch || json.NewDecoder(r.Body).Decode(&renewal) != nil || renewal.Expires.After(latest) {
			return invalid("Subscription expiration can only be 41760 minutes in the future.")
		}
		s.subscriptions[i].Expires = renewal.Expires
		return reply(http.StatusOK, s.subscriptions[i])
	}
	var x subscription
	if r.Method != http.MethodPost || s.options.Notify == nil || json.NewDecoder(r.Body).Decode(&x) != nil {
		return invalid("Invalid subscription.")
	}
	needs, known := map[string]string{"users": UserRead, "groups": GroupRead}[x.Resource]
	switch {
	case !known || x.ChangeType != "updated,deleted" || len(x.ClientState) > 128 || !strings.HasPrefix(x.URL, "https://"):
		return invalid("Invalid subscription.")
	case x.Expires.After(latest):
		return invalid("Subscription expiration can only be 41760 minutes in the future.")
	case !s.permissions[needs]:
		return forbidden()
	}
	for _, endpoint := range []string{x.URL, x.LifecycleURL} {
		if endpoint != "" {
			if err := s.validate(endpoint); err != nil {
				return invalid("Subscription validation request failed. " + err.Error())
			}
		}
	}
	x.ID = rand.Text()
	s.subscriptions = append(s.subscriptions, &x)
	return reply(http.StatusCreated, x)
}

// validate asks an endpoint to echo a token.
func (s *Server) validate(endpoint string) error {
	token := "Validation: Testing client application reachability <b>" + rand.Text() + "</b>"
	answer, err := s.options.Notify.Post(endpoint+"?validationToken="+url.QueryEscape(token), "text/plain", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || string(body) != token || !strings.HasPrefix(kind, "text/plain") {
		return fmt.Errorf("the endpoint answered %d, %q", answer.StatusCode, kind)
	}
	return nil
}

// Notify tells the subscribers to users or to groups that something has changed, and
// returns what they answered. edit changes what they are told, if it is not nil.
func (s *Server) Notify(resource string, edit func(notification map[string]any)) ([]int, error) {
	return s.tell(resource, func(x *subscription, n map[string]any) string {
		n["changeType"], n["resource"] = "updated", resource+"/"+rand.Text()
		n["resourceData"] = map[string]any{"@odata.type": "#Microsoft.Graph." + resource, "id": rand.Text()}
		if edit != nil {
			edit(n)
		}
		return x.URL
	})
}

// Lifecycle tells all subscribers of their subscription's own life, such as
// reauthorizationRequired (Rule GRAPH-38).
func (s *Server) Lifecycle(event string) ([]int, error) {
	return s.tell("", func(x *subscription, n map[string]any) string {
		n["lifecycleEvent"] = event
		return x.LifecycleURL
	})
}

func (s *Server) tell(resource string, fill func(*subscription, map[string]any) string) (statuses []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.live() {
		if resource != "" && x.Resource != resource {
			continue
		}
		n := map[string]any{
			"subscriptionId": x.ID, "clientState": x.ClientState, "tenantId": Tenant,
			"subscriptionExpirationDateTime": x.Expires,
		}
		endpoint := fill(x, n)
		body, err := json.Marshal(map[string]any{"value": []any{n}})
		if err != nil {
			return statuses, err
		}
		answer, err := s.options.Notify.Post(endpoint, "application/json; charset=utf-8", bytes.NewReader(body))
		if err != nil {
			return statuses, err
		}
		_ = answer.Body.Close() // it says nothing
		statuses = append(statuses, answer.StatusCode)
	}
	return statuses, nil
}
