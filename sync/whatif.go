package dirsync

import (
	"context"
	"fmt"
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
	// Another synchronizer over the same mirror, which only looks.
	other := &Syncer{config: c, mirror: s.mirror, desired: desired{model: c.Model}, dirty: map[mapping.Key]struct{}{}, full: true}
	s.mirror.Advance(s.now())
	var plan *Plan
	err := s.tenant.Read(func(v tenant.View) error {
		now := viewStates{v}
		if c.Rules != nil {
			other.desired.evaluation = mapping.New(c.Rules, s.mirror, now)
		}
		other.declare(now)
		p := other.planner(now)
		p.whatIf, p.notRead = true, s.notRead(c.Rules)
		plan = p.full()
		plan.Origin = other.originOf(v.Revision)
		return nil
	})
	return plan, err
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
