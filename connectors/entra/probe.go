package entra

import (
	"context"
	"errors"
	"fmt"
	"strings"

	abstractions "github.com/microsoft/kiota-abstractions-go"

	"github.com/ambit-iam/ambit/directory"
)

// Probe gets a token and tries each permission (Rule GRAPH-3). It reads next to
// nothing. Every permission that is missing is named.
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	g := s.graph
	defer g.wire.base.CloseIdleConnections()
	facts := []string{"Graph at " + s.config.GraphEndpoint}
	sel, err := selects(nil)
	if err != nil {
		return nil, err
	}
	var missing []error
	for _, try := range []struct{ what, needs, properties string }{
		{"users", "User.Read.All", strings.Join(sel.users, ",")},
		{"groups", "GroupMember.Read.All", strings.Join(sel.groups, ",")},
	} {
		// The newest link alone, and no objects (Rule GRAPH-17).
		var p page
		err := g.get(ctx, request{needs: try.needs, link: s.config.GraphEndpoint + "/v1.0/" + try.what + "/delta?$deltatoken=latest&$select=" + try.properties}, &p)
		switch {
		case isForbidden(err):
			missing = append(missing, fmt.Errorf("%s cannot be read: %w", try.what, err))
		case err != nil:
			return facts, fmt.Errorf("read %s: %w", try.what, incomplete(err))
		default:
			facts = append(facts, fmt.Sprintf("%s can be read, and their changes followed (%s)", try.what, try.needs))
		}
	}
	if held, known := g.credential.holds(groupRead); known && !held && s.config.Notifications != nil {
		missing = append(missing, fmt.Errorf("%w: there are no notifications of groups: grant the application permission %s", directory.ErrAuth, groupRead))
	}
	if len(missing) > 0 {
		return facts, errors.Join(missing...)
	}
	hidden, err := s.probeHidden(ctx)
	if hidden != "" {
		facts = append(facts, hidden)
	}
	return facts, err
}

func isForbidden(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) && refused.status == 403
}

// probeHidden looks at groups that hide their members: without a further
// permission Graph shows them as empty.
func (s *Source) probeHidden(ctx context.Context) (string, error) {
	const needs = "Member.Read.Hidden"
	var groups struct {
		Value []struct{ ID, Visibility string }
	}
	read := func(path string, into any) error {
		return s.graph.get(ctx, request{needs: needs, build: func() (*abstractions.RequestInformation, error) {
			return abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(abstractions.GET, "{+baseurl}"+path, map[string]string{}), nil
		}}, into)
	}
	if err := read("/groups?$select=id,visibility&$top=999", &groups); err != nil {
		return "", fmt.Errorf("list groups: %w", incomplete(err))
	}
	hidden := 0
	for _, one := range groups.Value {
		if one.Visibility != "HiddenMembership" || hidden == maxHidden {
			continue
		}
		hidden++
		var members struct{ Value []object }
		if err := read("/groups/"+one.ID+"/members?$select=id&$top=1", &members); err != nil {
			return "", fmt.Errorf("read the members of group %s, which hides them: %w", one.ID, incomplete(err))
		}
		if len(members.Value) > 0 {
			return fmt.Sprintf("groups that hide their members can be read (%s)", needs), nil
		}
	}
	if hidden > 0 {
		return fmt.Sprintf("groups that hide their members show none: if they have any, grant the application permission %s", needs), nil
	}
	return "no group among the first 999 hides its members", nil
}

// maxHidden is how many groups are looked into.
const maxHidden = 10
