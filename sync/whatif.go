package dirsync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/tenant"
)

// NotRead: the mapping names an attribute that has not been asked the source for.
const NotRead mapping.FindingKind = "not_read"

// WhatIf makes the plan that a sync would make if the mapping and model were these
// and the sources said what they said last. Nothing is read, and nothing of it is
// applied or kept (Rule PLAN-3). c's sources do not matter: they are those that
// are configured.
func (s *Syncer) WhatIf(ctx context.Context, c Config) (*Plan, error) {
	if err := s.lead(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leads {
		return nil, ErrNotLeading
	}
	c.Sources = s.config.Sources
	var plan *Plan
	err := s.tenant.Read(func(v tenant.View) error {
		now := viewStates{v}
		if err := s.catchUp(ctx, now); err != nil {
			return err
		}
		// Another synchronizer over the same mirror, which only looks.
		other := &Syncer{config: c, mirror: s.mirror, desired: s.desired, dirty: maps.Clone(s.dirty), full: s.full, redeclare: true}
		other.desired.model = c.Model
		// Should this end halfway, the next plan evaluates everything.
		s.desired.evaluation = nil
		back := other.try(now)
		other.declare(now)
		p := other.planner(now)
		p.whatIf, p.notRead = true, s.notRead(c.Rules)
		plan = other.drawUp(&p)
		s.desired.evaluation = back()
		return nil
	})
	return plan, err
}

// try puts the configured rules in the place of those that were evaluated, until
// the evaluation is asked back. What the two have in common is not evaluated again.
func (s *Syncer) try(now viewStates) (back func() *mapping.Evaluation) {
	was, rules := s.desired.evaluation, s.config.Rules
	if was != nil && rules != nil {
		if changed, undo, ok := was.Try(rules, now); ok {
			for _, k := range changed {
				s.dirty[k] = struct{}{}
			}
			return func() *mapping.Evaluation { undo(); return was }
		}
	}
	s.desired.evaluation, s.full = nil, true
	if rules != nil {
		s.desired.evaluation = mapping.New(rules, s.mirror, now)
	}
	return func() *mapping.Evaluation { return was }
}

// notRead says which attributes a mapping names that the present one does not: the
// sources have not been asked for them. The caller holds s.mu.
func (s *Syncer) notRead(rules *mapping.Rules) []mapping.Finding {
	var found []mapping.Finding
	for _, source := range s.config.Sources {
		if rules == nil || s.config.Rules == nil {
			break
		}
		now := s.config.Rules.Attributes(source.ID)
		asked := slices.DeleteFunc(rules.Attributes(source.ID), func(name string) bool { return slices.Contains(now, name) })
		if len(asked) > 0 {
			found = append(found, mapping.Finding{
				Kind: NotRead, Source: source.ID, Count: len(asked),
				Text: fmt.Sprintf("source %q has not been asked for %s, which the mapping in force does not name; nobody has a value for it here, unless it is always read", source.ID, strings.Join(asked, ", ")),
				Hint: "take the outcome for those who have it as open; with the mapping in force the source is read for it",
			})
		}
	}
	return found
}
