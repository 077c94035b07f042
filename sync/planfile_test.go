package dirsync

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/tenant"
)

// written plans, reads nothing more, and gives the plan as a file.
func (r *rig) written() ([]byte, PlanRef) {
	r.t.Helper()
	report, err := r.sync.Plan(r.t.Context(), Options{})
	require.NoError(r.t, err)
	file, err := report.Plan.File(time.Unix(1_800_000_000, 0))
	require.NoError(r.t, err)
	ref, err := ReadPlan("monday.plan", file)
	require.NoError(r.t, err)
	return file, ref
}

// by is what somebody else does over the API.
func (r *rig) by(changes ...access.Change) {
	r.t.Helper()
	_, err := r.tenant.Update(r.t.Context(), func(tenant.View) (tenant.Changeset, error) {
		return tenant.Changeset{Changes: changes, Events: []audit.Event{{Actor: audit.Actor{Kind: audit.User, ID: "x"}, Operation: "test", Result: audit.Done}}}, nil
	})
	require.NoError(r.t, err)
}

func TestRule_PLAN_1_a_plan_that_was_written_down_is_applied_as_it_is(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	file, ref := r.written()
	require.True(t, json.Valid(file))
	again, _ := r.written()
	require.Equal(t, maskTimes(t, file), maskTimes(t, again), "the same plan is the same bytes")
	reads := len(r.source.calls)
	report, err := r.sync.Sync(t.Context(), Options{Exactly: &ref})
	require.NoError(t, err)
	require.True(t, report.Applied)
	require.Equal(t, ref.Digest, report.Plan.Digest())
	require.Len(t, r.source.calls, reads, "nothing is read")
	require.Equal(t, []string{"corp:a", "corp:b"}, r.group())

	_, err = r.sync.Sync(t.Context(), Options{Exactly: &ref})
	moved := &Moved{}
	require.ErrorAs(t, err, &moved, "once")
}

// maskTimes takes out when the sources were read.
func maskTimes(t *testing.T, file []byte) string {
	lines := strings.Split(string(file), "\n")
	require.Contains(t, lines[0], `"completed":`)
	return strings.Join(lines[1:len(lines)-2], "\n")
}

// group lists who is in the directory's group.
func (r *rig) group() []string {
	var out []string
	for _, k := range r.lines(access.KindMembership) {
		if who, ok := strings.CutPrefix(k, "corp:g:members_and_guests/"); ok {
			out = append(out, who)
		}
	}
	return out
}

func TestRule_PLAN_2_a_plan_that_moved_is_refused_and_says_why(t *testing.T) {
	for name, test := range map[string]struct {
		move func(r *rig)
		want string // "": it is applied
	}{
		"nothing moved": {func(*rig) {}, ""},
		"a source was read again and says the same": {func(r *rig) {
			_, err := r.sync.Plan(r.t.Context(), Options{})
			require.NoError(r.t, err)
		}, ""},
		"a source was read again and says something else": {func(r *rig) {
			r.source.says(directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Remove: []directory.Ref{"dn:cn=ann"}}}})
			_, err := r.sync.Plan(r.t.Context(), Options{})
			require.NoError(r.t, err)
		}, "source corp was read again"},
		"the mapping was edited, with the same outcome": {func(r *rig) {
			r.rules += "guards: {empty_team: 7}\n"
			c := r.config()
			c.Files = map[string]string{"mapping.yaml": "sha256:b", "model.yaml": "sha256:m"}
			r.sync.Replace(c)
		}, "mapping.yaml has been edited since"},
		"somebody changed a role of the environment": {func(r *rig) {
			unit := access.BusinessUnitID(r.lines(access.KindBusinessUnit)[0])
			r.by(access.Put(access.Role{Environment: "sales", ID: "extra", Name: "Extra", BusinessUnit: unit, ManagedBy: access.ByAPI}))
		}, "changed role extra of environment sales"},
		"somebody noted something in the audit log": {func(r *rig) { r.by() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, modelFile, rulesFile)
			c := r.config()
			c.Files = map[string]string{"mapping.yaml": "sha256:a", "model.yaml": "sha256:m"}
			r.sync.Replace(c)
			r.source.says(directory.Full, company()[0])
			r.mustSync()
			r.source.says(directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Add: []directory.Ref{"dn:cn=eve"}}}})
			_, ref := r.written()
			r.source.says(directory.Delta)
			test.move(r)
			before := r.everything()
			_, err := r.sync.Sync(t.Context(), Options{Exactly: &ref})
			if test.want == "" {
				require.NoError(t, err)
				require.Contains(t, r.group(), "corp:e")
				return
			}
			moved := &Moved{}
			require.ErrorAs(t, err, &moved)
			require.Contains(t, err.Error(), test.want)
			require.Equal(t, before, r.everything(), "nothing was changed")
			require.NotEqual(t, PlanFailed, r.sync.Status().Plan.State)
		})
	}
}

func TestAHeldPlanInAFileWaitsForAPersonAllTheSame(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+"guards: {remove_members: {max: 0}}\n")
	r.source.says(directory.Full, company()...)
	r.mustSync()
	r.source.says(directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Remove: []directory.Ref{"dn:cn=ann"}}}})
	_, ref := r.written()
	_, err := r.sync.Sync(t.Context(), Options{Exactly: &ref})
	require.ErrorIs(t, err, ErrHeld)
	_, err = r.sync.Sync(t.Context(), Options{Exactly: &ref, Accept: ref.Digest, Reason: "it is meant", Actor: audit.Actor{Kind: audit.User, ID: "x"}})
	require.NoError(t, err)
	require.Equal(t, []string{"corp:b"}, r.group())
}

func TestAPlanFileThatWasEditedSaysWhere(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	file, _ := r.written()
	lines := strings.SplitAfter(string(file), "\n")
	require.Greater(t, len(lines), 20)
	edit := func(n int, from, to string) string {
		all := slices.Clone(lines)
		all[n-1] = strings.Replace(all[n-1], from, to, 1)
		require.NotEqual(t, lines[n-1], all[n-1])
		return strings.Join(all, "")
	}
	last := len(lines) - 1
	for name, test := range map[string]struct {
		file string
		want string
	}{
		"a change":            {edit(7, `"operation":"create"`, `"operation":"delete"`), "monday.plan:7: "},
		"a space in a change": {edit(8, `"change":`, `"change": `), "monday.plan:8: "},
		"a line less":         {strings.Join(slices.Delete(slices.Clone(lines), 8, 9), ""), "monday.plan:9: "},
		"a line twice":        {strings.Join(slices.Insert(slices.Clone(lines), 9, lines[8]), ""), "monday.plan:10: "},
		"the digest":          {edit(1, `"digest":"sha256:`, `"digest":"sha256:0`), "monday.plan:1: "},
		"held":                {edit(1, `"held":false`, `"held":true`), "monday.plan:1: the seal"},
		"the seal":            {edit(last, `"seal":"`, `"seal":"0`), "monday.plan:1: the seal"},
		"cut short":           {strings.Join(lines[:10], ""), "the file ends before the plan does"},
		"cut within a line":   {string(file[:len(file)/2]), "the file ends before the plan does"},
		"another format":      {edit(1, "ambit-plan/1", "ambit-plan/9"), "monday.plan:1: this is a plan in the format"},
		"something else":      {"hello\n", "monday.plan:1: this is not a plan"},
		"nothing":             {"", "monday.plan:1: this is not a plan"},
		"a line at the end":   {string(file) + "x\n", "monday.plan:1: the seal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadPlan("monday.plan", []byte(test.file))
			require.Error(t, err)
			require.Contains(t, err.Error(), test.want)
		})
	}
}

// Whatever is done to one byte of a plan's file, it is not taken for the plan.
func TestNoByteOfAPlanFileCanChange(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	file, _ := r.written()
	const step = 17 // all of them take ten seconds
	for i := 0; i < len(file); i += step {
		edited := slices.Clone(file)
		edited[i] ^= 1
		_, err := ReadPlan("monday.plan", edited)
		require.Error(t, err, "byte %d", i)
	}
}

// Plans are accepted by a digest of these lines.
func TestRule_PLAN_1_a_line_of_a_plan_is_its_change_as_JSON(t *testing.T) {
	ann := access.User{Environment: "sales", ID: "corp:a", Login: "ann <&> \"é\"", Name: "Ann", ManagedBy: access.ByMapping, Origin: access.Origin{Rule: "people"}}
	for _, c := range []Change{
		{Operation: Create, Environment: "sales", Kind: access.KindUser, Key: "corp:a", Name: ann.Login, After: ann},
		{Operation: Delete, Environment: "sales", Kind: access.KindUser, Key: "corp:a", Name: ann.Login, Follows: true, Before: ann},
		{Operation: Update, Environment: "sales", Kind: access.KindUser, Key: "corp:a", Fields: []string{"name", "mail"}, Before: ann, After: ann},
		{Operation: Update, Kind: access.KindTeam, Fields: []string{"name"}, Before: access.Team{ID: "t"}, After: access.Team{ID: "t", Name: "T"}},
	} {
		want, err := json.Marshal(c)
		require.NoError(t, err)
		require.Equal(t, string(want), string(c.appendLine(nil)))
	}
}

// FuzzReadPlan: only what was written is a plan; of everything else the error tells
// the line.
func FuzzReadPlan(f *testing.F) {
	r := newRig(f, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	file, want := r.written()
	f.Add(file)
	lines := strings.SplitAfter(string(file), "\n")
	f.Add([]byte(strings.Join(lines[1:], "")))
	f.Add([]byte(strings.Join(lines[:len(lines)-2], "")))
	f.Add([]byte(strings.Join(slices.Concat(lines[:2], lines[3:]), "")))
	f.Add(append(slices.Clone(file), '\n'))
	f.Add([]byte(lines[0]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, got []byte) {
		ref, err := ReadPlan("monday.plan", got)
		if bytes.Equal(got, file) {
			require.NoError(t, err)
			require.Equal(t, want, ref)
			return
		}
		require.Error(t, err)
		require.Equal(t, PlanRef{}, ref)
		rest, ok := strings.CutPrefix(err.Error(), "monday.plan:")
		require.True(t, ok, err)
		line, _, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(line)
		require.NoError(t, err, rest)
		require.True(t, 1 <= n && n <= 1+strings.Count(string(got), "\n"), rest)
	})
}
