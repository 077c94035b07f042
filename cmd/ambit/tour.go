package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/testdata/company"
)

// tour walks through the demo. Each step prints the command, its real output and
// one line of what it shows, and fails if the result is not as claimed.
type tour struct {
	*command
	stage *stage
	ctx   context.Context
	steps int
}

// maxShown is how many lines of one output's beginning and end the tour shows.
const maxShown = 14

func (t *tour) title(text string) {
	t.steps++
	fmt.Fprintf(t.out, "\n── %d. %s\n", t.steps, text)
}

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.out, "   → "+format+"\n", args...) }

// claim is what a step must have: the exit code, and texts in its output.
type claim struct {
	code  int
	texts []string
}

func done(texts ...string) claim           { return claim{exitDone, texts} }
func ends(code int, texts ...string) claim { return claim{code, texts} }

// run runs a command line in this process, as a shell would in another, and
// returns its output.
func (t *tour) run(want claim, args ...string) (string, error) {
	var shown []string
	for _, a := range args {
		if strings.ContainsAny(a, ` "*`) {
			a = "'" + a + "'"
		}
		shown = append(shown, a)
	}
	fmt.Fprintf(t.out, "\n   $ ambit %s\n", strings.ReplaceAll(strings.Join(shown, " "), t.stage.dir+"/", "$DEMO/"))
	out, code := t.quietly(args...)
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if left := len(lines) - 2*maxShown; left > 0 {
		lines = slices.Concat(lines[:maxShown], []string{fmt.Sprintf("… %d more lines …", left)}, lines[len(lines)-maxShown:])
	}
	for _, line := range lines {
		fmt.Fprintf(t.out, "     %s\n", strings.ReplaceAll(line, t.stage.dir+"/", "$DEMO/"))
	}
	if code != want.code {
		fmt.Fprintln(t.err, out)
		return out, fmt.Errorf("the tour claims exit code %d of `ambit %s`, and it was %d", want.code, strings.Join(args, " "), code)
	}
	for _, text := range want.texts {
		if !strings.Contains(out, text) {
			return out, fmt.Errorf("the tour claims that `ambit %s` says %q, and it does not", strings.Join(args, " "), text)
		}
	}
	return out, nil
}

func (t *tour) quietly(args ...string) (string, int) {
	var out bytes.Buffer
	code := run(t.ctx, streams{in: strings.NewReader(""), out: &out, err: &out, screen: t.screen}, args)
	return out.String(), code
}

// as adds the sign-in of one of the three people.
func (t *tour) as(who string, args ...string) []string {
	return append(args, "--server", t.stage.url, "--token-file", t.stage.file(who+".token"))
}

// walk takes all steps, up to the first whose result is not as claimed.
func (t *tour) walk() error {
	fmt.Fprintf(t.out, "Ambit's main job, on a made-up company of 300 people in two directories.\nWhat runs, runs on loopback, in %s.\n\n   export DEMO=%s AMBIT_CONFIG=%s\n", t.stage.dir, t.stage.dir, t.stage.file("ambit.yaml"))
	for _, part := range []func() error{t.plans, t.syncs, t.decides, t.elevates, t.leaves, t.audits} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

const (
	colleague = company.Colleague + "@" + company.Domain
	leaver    = company.Leaver + "@" + company.Domain
)

// may is the question whether somebody may do something with an account of the
// colleague's.
func may(verb, who, action string) []string {
	return []string{verb, "--env", "sales", who, action, "account", "--record", "4711", "--owner", "user:" + colleague}
}

func (t *tour) plans() error {
	t.title("What would the first sync do?")
	if _, err := t.run(done("no faults"), "validate"); err != nil {
		return err
	}
	t.say("configuration, model, rules and policies have no fault; every fault would be named with file, line and column")
	if _, err := t.run(done("Access gained", "to create"), "plan"); err != nil {
		return err
	}
	t.say("nothing has changed yet: this is what a sync would create, in objects and in access")
	return nil
}

func (t *tour) syncs() error {
	t.title("Sync, twice")
	if _, err := t.run(done("Applied as revision"), "sync"); err != nil {
		return err
	}
	t.say("one revision: users, teams, memberships and roles, with their audit event, in one transaction")
	if _, err := t.run(done("Nothing to change"), "sync"); err != nil {
		return err
	}
	t.say("the directories say the same, so nothing is written")
	return nil
}

func (t *tour) decides() error {
	t.title("Who may do what, and why?")
	if _, err := t.run(done("allowed"), may("check", employee, "read")...); err != nil {
		return err
	}
	if _, err := t.run(done("Salesperson", company.SalesFrance), may("explain", employee, "read")...); err != nil {
		return err
	}
	t.say("every origin of the access: the role, the team that holds it, and the directory group that put her there")
	if _, err := t.run(ends(exitDenied, "denied: no_privilege"), may("check", employee, "delete")...); err != nil {
		return err
	}
	if _, err := t.run(done("Sales Manager"), may("explain", employee, "delete")...); err != nil {
		return err
	}
	t.say("a deny comes with the smallest things that are missing")
	return nil
}

func (t *tour) elevates() error {
	t.title("A role for three seconds, by approval")
	out, err := t.run(done("pending"), t.as("employee", "jit", "request", "Sales Manager", "--env", "sales", "--for", "3s",
		"--reason", "quarter-end corrections", "--ticket", "CHG-4711", "--yes")...)
	if err != nil {
		return err
	}
	t.say("she sees what the role would add before she asks")
	id := ""
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, "req_") {
			id = word
		}
	}
	digest, err := t.digest("employee", id)
	if err != nil {
		return err
	}
	if _, err := t.run(ends(exitFailed, "self-approval"), t.as("employee", "jit", "approve", id, "--digest", digest)...); err != nil {
		return err
	}
	t.say("nobody approves their own request, under any account")
	if _, err := t.run(done("it adds:", "delete on account", "digest"), t.as("approver", "jit", "diff", id)...); err != nil {
		return err
	}
	t.say("the approver is shown the access it adds; the approval names that digest and holds for nothing else")
	if digest, err = t.digest("approver", id); err != nil {
		return err
	}
	if _, err = t.run(done("active"), t.as("approver", "jit", "approve", id, "--digest", digest)...); err != nil {
		return err
	}
	allowed, err := t.run(done("allowed"), may("check", employee, "delete")...)
	if err != nil {
		return err
	}
	t.say("she may now, and the answer says until when")
	if err := t.untilEnd(id); err != nil {
		return err
	}
	denied, err := t.run(ends(exitDenied, "denied: no_privilege"), may("check", employee, "delete")...)
	if err != nil {
		return err
	}
	if revision(allowed) != revision(denied) {
		return fmt.Errorf("the tour claims that no job ran between two checks, and the revision went from %s to %s", revision(allowed), revision(denied))
	}
	t.say("the clock ended it: same revision %s, no job has run", revision(denied))
	return nil
}

// digest reads the evidence as one person and returns its digest.
func (t *tour) digest(who, id string) (string, error) {
	out, code := t.quietly(t.as(who, "jit", "diff", id, "--output", "json")...)
	var e api.JITEvidence
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != exitDone {
		return "", fmt.Errorf("read what %s was shown: exit code %d: %s", who, code, out)
	}
	return e.Digest, nil
}

// untilEnd waits for the end that the grant was given.
func (t *tour) untilEnd(id string) error {
	out, _ := t.quietly(t.as("employee", "jit", "show", id, "--output", "json")...)
	var r api.JITRequest
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Grant == nil {
		return fmt.Errorf("read the grant of %s: %s", id, out)
	}
	fmt.Fprintf(t.out, "\n   (waiting for %s)\n", local(r.Grant.Window.End))
	select {
	case <-t.ctx.Done():
		return t.ctx.Err()
	case <-time.After(time.Until(r.Grant.Window.End)):
		return nil
	}
}

// revision is the one that an answer names.
func revision(answer string) string {
	_, rest, _ := strings.Cut(answer, "revision ")
	return strings.TrimRight(strings.SplitN(rest, ",", 2)[0], ")\n")
}

func (t *tour) leaves() error {
	t.title("Somebody leaves a group; a directory goes wrong")
	if _, err := t.run(done("allowed"), may("check", leaver, "read")...); err != nil {
		return err
	}
	group := t.stage.company.Group(company.SalesFrance)
	t.stage.ldap.RemoveMember(group.DN(), t.stage.company.Person(company.Leaver).DN())
	fmt.Fprintf(t.out, "\n   (in the LDAP directory, %s is taken out of %s)\n", leaver, group.Name)
	if _, err := t.run(done("Access lost", "Applied as revision"), "sync"); err != nil {
		return err
	}
	if _, err := t.run(ends(exitDenied, "denied"), may("check", leaver, "read")...); err != nil {
		return err
	}
	t.say("the next sync took the access away, and said so")
	was := t.stage.ldap.EmptyGroup(group.DN())
	fmt.Fprintf(t.out, "\n   (now the directory suddenly answers that %s is empty)\n", group.Name)
	if _, err := t.run(ends(exitHeld, "held", "--accept-plan sha256:"), "sync"); err != nil {
		return err
	}
	if _, err := t.run(done("allowed"), may("check", employee, "read")...); err != nil {
		return err
	}
	t.say("the plan is held whole, nobody lost anything, and the message says what to do")
	t.stage.ldap.Change(group.DN(), "member", func([]string) []string { return was })
	fmt.Fprintf(t.out, "\n   (the directory is mended)\n")
	_, err := t.run(done("Nothing to change"), "sync")
	return err
}

func (t *tour) audits() error {
	t.title("What was done, and can it be believed?")
	out, err := t.run(done("sync.plan.applied", "jit.request.submitted", "jit.refused", "jit.request.approved", "jit.grant.created", "sync.plan.held"), "audit", "list")
	if err != nil {
		return err
	}
	if strings.Count(out, "sync.plan.applied") != 2 {
		return fmt.Errorf("the tour claims two applied plans in the audit log, and there are %d", strings.Count(out, "sync.plan.applied"))
	}
	t.say("every step above is there, with who and why")
	if _, err := t.run(done("holds"), "audit", "verify"); err != nil {
		return err
	}
	copied := t.stage.file("edited-copy")
	if err := t.edited(copied); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "\n   (in a copy of the store, somebody edits a row with another tool)\n")
	if _, err := t.run(ends(exitFailed, "does not hold"), "audit", "verify", "--config", filepath.Join(copied, "ambit.yaml")); err != nil {
		return err
	}
	t.say("the hash chain finds it")
	return nil
}

// edited copies the store and changes one text in the copy's file, as somebody
// with the file and an editor could.
func (t *tour) edited(to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"ambit.db", "ambit.db-wal", "ambit.yaml", "model.yaml", "mapping.yaml", "policies.yaml"} {
		b, err := os.ReadFile(t.stage.file(name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			return err
		}
	}
	// The copy holds as it stands; closing it brings all of it into the one file.
	if out, code := t.quietly("audit", "verify", "--config", filepath.Join(to, "ambit.yaml")); code != exitDone {
		return fmt.Errorf("the copy of the store does not hold before it is edited: %s", out)
	}
	b, err := os.ReadFile(filepath.Join(to, "ambit.db"))
	if err != nil {
		return err
	}
	changed := bytes.ReplaceAll(b, []byte("quarter-end corrections"), []byte("quarter-end celebration"))
	if bytes.Equal(changed, b) {
		return fmt.Errorf("the tour finds no row to edit in %s", to)
	}
	return os.WriteFile(filepath.Join(to, "ambit.db"), changed, 0o600)
}

// goOn says how to try things.
func (t *tour) goOn() {
	out := t.out
	fmt.Fprintf(out, `
── The demo stays up until Ctrl-C. In another terminal:

   export DEMO=%[1]s AMBIT_CONFIG=%[1]s/ambit.yaml
   %[2]s jit queue --server %[3]s --token-file $DEMO/approver.token
   %[2]s explain --env sales %[4]s read account --owner user:%[5]s

   API        %[3]s   (description at /openapi.json)
   sign-ins   %[4]s (employee), %[6]s (approver), %[7]s (auditor)
              tokens in $DEMO/employee.token, approver.token, auditor.token; password %[8]q at %[9]s/token

   curl -H "Authorization: Bearer $(cat $DEMO/employee.token)" %[3]s/v1/jit/eligible
   curl -H "Authorization: Bearer $(cat $DEMO/auditor.token)" -H 'Content-Type: application/json' \
        -d '{"user":"%[4]s","action":"read","table":"account"}' %[3]s/v1/environments/sales/check
   curl -H "Authorization: Bearer $(cat $DEMO/auditor.token)" '%[3]s/v1/audit/events?limit=5'
`, t.stage.dir, os.Args[0], t.stage.url, employee, colleague, approver, auditor, password, t.stage.issuer.URL)
}
