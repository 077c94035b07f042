package enginetest

import (
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Subject is what a case is put to: the engine, the reference, or a face of them.
type Subject interface {
	Check(engine.Question) (engine.Decision, error)
	Columns(engine.Question) ([]Column, error)
	Rights(engine.Question) (access.Rights, error)
	Who(engine.Question) ([]access.UserID, error)
	Filter(q engine.Question, by []string) (engine.Reason, error)
	Rule(Ruling) (may bool, refusedBy string, err error)
}

// Questions are what the case asks: with the record's facts in the question, and,
// where the environment knows the record, by its name.
func (c Case) Questions() []engine.Question {
	if c.Registered != nil {
		return []engine.Question{c.Question, *c.Registered}
	}
	return []engine.Question{c.Question}
}

// Run puts the case to the subject and fails unless it answers as the case says. A
// case whose changes are refused asks nothing.
func (c Case) Run(t require.TestingT, s Subject) {
	if c.Refused != "" {
		require.ErrorContains(t, c.Faults, "Rule "+c.Refused)
		return
	}
	if c.Ruling != nil {
		may, by, err := s.Rule(*c.Ruling)
		require.NoError(t, err)
		require.Equal(t, c.Answer == engine.Allowed, may, "refused by %s", by)
		for _, rule := range c.By {
			require.Equal(t, rule, by)
		}
		return
	}
	for _, q := range c.Questions() {
		switch {
		case c.Columns != nil:
			got, err := s.Columns(q)
			require.NoError(t, err)
			for _, want := range c.Columns {
				want.check(t, got)
			}
		case c.FilteredBy != nil:
			got, err := s.Filter(q, c.FilteredBy)
			require.NoError(t, err)
			require.Equal(t, c.Answer, got)
		case c.Rights != nil:
			got, err := s.Rights(q)
			require.NoError(t, err)
			require.Equal(t, c.Rights.String(), got.String())
		case c.Who != nil:
			got, err := s.Who(q)
			require.NoError(t, err)
			require.ElementsMatch(t, c.Who, got)
		default:
			c.check(t, s, q)
		}
	}
}

func (c Case) check(t require.TestingT, s Subject, q engine.Question) {
	d, err := s.Check(q)
	if c.Error != "" {
		require.Error(t, err)
		if _, naive := s.(Reference); !naive { // which has words of its own
			require.ErrorContains(t, err, c.Error)
		}
		require.Equal(t, engine.Decision{}, d, "an error denies")
		return
	}
	require.NoError(t, err)
	require.Equal(t, c.Answer, d.Reason)
	require.Equal(t, c.Answer == engine.Allowed, d.Allowed)
	require.Equal(t, c.OfImpersonator, d.OfImpersonator)
	if c.Depth != access.None || q.Record == nil && q.Privilege == "" && d.Allowed {
		require.Equal(t, c.Depth, d.Depth)
	}
	require.True(t, c.Until.Equal(d.ValidUntil), "until %v, not %v", d.ValidUntil, c.Until)
}

func (e Expected) check(t require.TestingT, all []Column) {
	for _, got := range all {
		if got.Name != e.Column {
			continue
		}
		if e.Alone != "" {
			require.Equal(t, e.Alone, got.Alone, "%s by itself", e.Column)
		}
		if e.Listed != "" {
			require.Equal(t, e.Listed, got.Listed, "%s in a list", e.Column)
		}
		if e.Update != nil {
			require.Equal(t, *e.Update, got.Update, "update of %s", e.Column)
		}
		if e.Create != nil {
			require.Equal(t, *e.Create, got.Create, "create of %s", e.Column)
		}
		return
	}
	require.NoError(t, errors.New("column "+e.Column+" is not secured"))
}
