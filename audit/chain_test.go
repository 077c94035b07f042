package audit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/jit"
)

var start = time.Date(2026, 3, 1, 8, 0, 0, 123_456_789, time.UTC)

// chained makes a log: two events for each revision.
func chained(t *testing.T, n int) []audit.Event {
	var chain audit.Chain
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{
			Actor: audit.Actor{Kind: audit.User, ID: "ada", Address: "192.0.2.1"}, Operation: "test", Environment: "dev", Object: "user/bob", Result: audit.Done,
			Reason: "ünï <&>", Detail: json.RawMessage(fmt.Sprintf(`{"n": %d, "a": "x"}`, i)), Correlation: "c",
			Revision: access.Revision(1 + i/2), At: start.Add(time.Duration(i/2) * time.Second), Changes: i, ChangesDigest: "d",
		}
		require.NoError(t, chain.Append(&events[i]))
	}
	return events
}

func verify(events []audit.Event) (audit.Chain, error) {
	var c audit.Chain
	for _, e := range events {
		if err := c.Verify(e); err != nil {
			return c, err
		}
	}
	return c, nil
}

func TestRule_AUD_5_TheHashIsWhatTheDocumentationSays(t *testing.T) {
	events := chained(t, 3)
	for i, e := range events {
		// By hand, as somebody would who has the exported event alone.
		b, err := json.Marshal(e)
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(b, &fields))
		delete(fields, "hash")
		b, err = json.Marshal(fields)
		require.NoError(t, err)
		b, err = jcs.Transform(b)
		require.NoError(t, err)
		sum := sha256.Sum256(append([]byte(e.Prev), b...))
		require.Equal(t, hex.EncodeToString(sum[:]), e.Hash)
		require.EqualValues(t, i+1, e.Seq)
		require.Equal(t, access.Instant(e.At), e.At, "microseconds")
		require.Equal(t, fmt.Sprintf(`{"a":"x","n":%d}`, i), string(e.Detail), "the detail is canonical")
	}
	require.Empty(t, events[0].Prev)
	require.Equal(t, events[0].Hash, events[1].Prev)
}

func TestRule_AUD_5_EveryEditIsFound(t *testing.T) {
	edits := map[string]func(*audit.Event){
		"actor kind":          func(e *audit.Event) { e.Actor.Kind = audit.System },
		"actor id":            func(e *audit.Event) { e.Actor.ID = "eve" },
		"actor name":          func(e *audit.Event) { e.Actor.Name = "Eve" },
		"on behalf of":        func(e *audit.Event) { e.Actor.OnBehalfOf = "eve" },
		"address":             func(e *audit.Event) { e.Actor.Address = "" },
		"operation":           func(e *audit.Event) { e.Operation = "other" },
		"environment":         func(e *audit.Event) { e.Environment = "" },
		"object":              func(e *audit.Event) { e.Object = "user/eve" },
		"result":              func(e *audit.Event) { e.Result = audit.Refused },
		"reason":              func(e *audit.Event) { e.Reason += " " },
		"detail":              func(e *audit.Event) { e.Detail = json.RawMessage(`{"a":"y","n":2}`) },
		"detail's spelling":   func(e *audit.Event) { e.Detail = json.RawMessage(`{"a":"x", "n":2}`) },
		"detail's precision":  func(e *audit.Event) { e.Detail = json.RawMessage(`{"a":"x","n":2.0}`) },
		"detail taken away":   func(e *audit.Event) { e.Detail = nil },
		"detail that is none": func(e *audit.Event) { e.Detail = json.RawMessage(`x`) },
		"correlation":         func(e *audit.Event) { e.Correlation = "" },
		"seq":                 func(e *audit.Event) { e.Seq++ },
		"revision":            func(e *audit.Event) { e.Revision++ },
		"at":                  func(e *audit.Event) { e.At = e.At.Add(time.Microsecond) },
		"changes":             func(e *audit.Event) { e.Changes++ },
		"digest":              func(e *audit.Event) { e.ChangesDigest = "" },
		"prev":                func(e *audit.Event) { e.Prev = e.Hash },
		"hash":                func(e *audit.Event) { e.Hash = e.Prev },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			events := chained(t, 6)
			edit(&events[2])
			at, err := verify(events)
			broken, ok := errors.AsType[*audit.Broken](err)
			require.True(t, ok, "%v", err)
			require.EqualValues(t, 3, broken.Seq)
			require.EqualValues(t, 2, at.Seq, "what held before")
		})
	}
}

func TestRule_AUD_5_MissingAddedAndReorderedEventsAreFound(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		events := chained(t, 8)
		whole, err := verify(events)
		require.NoError(r, err)
		require.Equal(r, events[7].Hash, whole.Hash)
		i, j := rapid.IntRange(0, 7).Draw(r, "i"), rapid.IntRange(0, 7).Draw(r, "j")
		switch rapid.IntRange(0, 2).Draw(r, "what") {
		case 0:
			events = append(events[:i:i], events[i+1:]...)
			if i == 7 {
				// Nothing tells of the end, but a hash that was kept.
				end, err := verify(events)
				require.NoError(r, err)
				require.NotEqual(r, whole.Hash, end.Hash)
				return
			}
		case 1:
			events = append(events[:i:i], append([]audit.Event{events[j]}, events[i:]...)...)
		default:
			if i == j {
				return
			}
			events[i], events[j] = events[j], events[i]
		}
		_, err = verify(events)
		var broken *audit.Broken
		require.ErrorAs(r, err, &broken)
	})
}

func TestAppendRefusesADetailThatIsNoObject(t *testing.T) {
	for _, detail := range []string{`[1]`, `"x"`, `{"a":1,"a":2}`, `{`, `{} {}`} {
		chain := audit.Chain{Seq: 3, Hash: "h"}
		before := chain
		require.Error(t, chain.Append(&audit.Event{Operation: "x", Detail: json.RawMessage(detail)}), detail)
		require.Equal(t, before, chain)
	}
}

// The digest of old revisions is computed from objects as this version reads
// them. These hashes must never change: a field that is added must be left out
// when it is zero.
func TestRule_AUD_5_TheDigestOfEachKindStaysTheSame(t *testing.T) {
	window := access.Window{Start: start.Truncate(time.Microsecond)}
	origin := access.Origin{Rule: "r", Source: "s", Object: "o", Path: "p"}
	group := access.GroupRef{Source: "s", Group: "g", Name: "n"}
	privileges := []access.Privilege{{Table: "t", Action: access.AppendTo, Depth: access.Deep}}
	hour, at := jit.Duration(time.Hour), start.Truncate(time.Second)
	subjects := []jit.Subject{{User: "u", Team: "t", Role: "r", Manager: true}}
	policy := jit.Policy{
		Environment: "e", ID: "i", Version: 2, Name: "n", Role: "r", Scope: jit.Scope{BusinessUnit: "b", Subtree: true}, Eligible: subjects,
		Stages: []jit.Stage{{Approvers: subjects, Fallback: subjects, Quorum: 1}}, MinDuration: hour, MaxDuration: hour, DefaultDuration: hour,
		PendingTTL: hour, JustificationMin: 1, Ticket: "t", Late: jit.Shift, DenyQuorum: 1, MaxDirectoryAge: hour, OneApproverSuffices: true,
		Disabled: true, Author: "a", ManagedBy: access.ByAPI,
	}
	request := jit.Request{
		Environment: "e", ID: "i", State: jit.Approved, Reason: "r", Requester: "q", Beneficiary: "b", Role: "r", BusinessUnit: "u", Duration: hour,
		Start: at, Justification: "j", Ticket: "t", Policy: "p", PolicyVersion: 2, Submitted: at, PendingUntil: at, Digest: "d", ClosedAt: at, ClosedBy: "c",
		Decisions: []jit.Decision{{ID: "d", By: "u", Stage: 1, Approve: true, Comment: "c", Digest: "d", At: at, Withdrawn: at, Lapsed: true}},
		Shown:     []jit.Shown{{To: "u", Digest: "d", At: at}},
		Grant:     &jit.Grant{Assignment: "a", Window: window, StartNoted: true, Ended: &jit.Ended{At: at, By: "u", Reason: "r"}},
	}
	for _, c := range []struct {
		object access.Object
		digest string
	}{
		{access.Environment{ID: "e", Name: "n", Modernized: true, KeepRecordUnit: true, KeepRoles: true, ShareWithPrevious: true, SecurityGroup: &group, RequireLicence: true, ManagedBy: access.ByFile}, "ae312476d10727f708760d6231bda3c4569025a84791c6bfe59e56215e7dadd5"},
		{access.BusinessUnit{Environment: "e", ID: "i", Name: "n", Parent: "p", Disabled: true, ManagedBy: access.ByFile}, "5460d03bbeaad576c682b50ba22e8b0644e3e57fc5b958a5d4b8c49690e3c6bf"},
		{access.Table{Environment: "e", ID: "i", Name: "n", Ownership: access.NotOwned, ManagedBy: access.ByFile}, "b3dd15daa73807c9954a069ba45d74781ba8536f222aef3a09ef76c5077291ca"},
		{access.Role{Environment: "e", ID: "i", Name: "n", BusinessUnit: "b", Inheritance: access.TeamOnly, All: true, Privileges: privileges, Miscellaneous: []string{"m"}, ManagedBy: access.ByFile}, "534945db39f9d809dfb77491c9bb9898663f20c43fcf893aad8624f769e5f441"},
		{access.User{Environment: "e", ID: "i", Login: "l", Name: "n", Mail: "m", BusinessUnit: "b", Enabled: true, Licensed: true, Admitted: true, Manager: "m", Position: "p", Person: "q", ManagedBy: access.ByMapping, Origin: origin}, "da4ecbc8a325681d497b2409d53bded190c1791cab7f12ac1b60cb326852a405"},
		{access.Team{Environment: "e", ID: "i", Name: "n", Type: access.M365GroupTeam, BusinessUnit: "b", Group: &access.GroupLink{GroupRef: group, Membership: access.GuestsOnly, Nested: true}, ManagedBy: access.ByMapping, Origin: origin}, "3019b2d4a232f69ee4c269ff83ee29bc3d8a491c1ff74506df9081e7af0c5c5c"},
		{access.Membership{Environment: "e", Team: "t", User: "u", ManagedBy: access.ByMapping, Origin: origin}, "b6e34b31dba1bd5bd1545e6c057fd3daf7c27a89cd56a4e0cc09ea2b3f5005aa"},
		{access.Assignment{Environment: "e", ID: "i", Role: "r", Principal: access.TeamID("t").Principal(), BusinessUnit: "b", Window: window, Request: "q", Bound: &access.Bound{All: true, Privileges: privileges, Miscellaneous: []string{"m"}}, ManagedBy: access.ByJIT, Origin: origin}, "1d5de60ef05b4dab315b41bbe7f4c319b687884e9eedeb3b65470cb36b8f1559"},
		{access.Record{Environment: "e", Table: "t", ID: "i", Owner: access.UserID("u").Principal(), BusinessUnit: "b", ManagedBy: access.ByAPI}, "955868b2bac8d2457959cd1f3698569ab00557a93e362b1f6e94b192b01c35f4"},
		{access.Share{Environment: "e", Table: "t", Record: "r", Principal: access.Principal{Kind: access.Everybody}, Rights: access.RightsOf(access.Read), Inherited: access.RightsOf(access.Write), Window: window, ManagedBy: access.ByAPI}, "e3c21f69aa1291134452daa22f0f9a0611126d8153ff515a56e2c4fedb2d24b7"},
		{policy, "58c575a1a8ba112d99c571fd96d6bb0bb782e467c652b558e25f7afe3577e83b"},
		{request, "08e01959ca5df25e1d4300b5aa3c45fdba6984dfb5e0cbd87de8293941086bf3"},
	} {
		t.Run(c.object.ObjectKind().String(), func(t *testing.T) {
			d := audit.NewDigest()
			changed, err := d.Add(c.object.ObjectKind(), nil, c.object)
			require.NoError(t, err)
			require.True(t, changed)
			require.Equal(t, c.digest, d.Sum())
		})
	}
}

func TestDigestTellsApart(t *testing.T) {
	sum := func(pairs ...access.Object) string {
		d := audit.NewDigest()
		for i := 0; i < len(pairs); i += 2 {
			added, err := d.Add(access.KindUser, pairs[i], pairs[i+1])
			require.NoError(t, err)
			changed, err := audit.Changed(pairs[i], pairs[i+1])
			require.NoError(t, err)
			require.Equal(t, added, changed)
		}
		return d.Sum()
	}
	a, b := access.User{Environment: "e", ID: "a"}, access.User{Environment: "e", ID: "b"}
	require.Empty(t, sum())
	require.Empty(t, sum(a, a), "what is the same is no change")
	seen := map[string]bool{}
	for _, s := range []string{sum(nil, a), sum(a, nil), sum(a, b), sum(b, a), sum(nil, a, nil, b), sum(nil, b, nil, a), sum(nil, a, b, nil)} {
		require.False(t, seen[s])
		seen[s] = true
	}
	d := audit.NewDigest()
	_, err := d.Add(access.KindTeam, nil, a)
	require.NoError(t, err)
	require.NotEqual(t, sum(nil, a), d.Sum(), "the kind counts")
}
