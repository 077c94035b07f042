package ldap

import (
	"context"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// The least time between two rounds that a busy domain asks for: the second where
// each of them lists the ids of all that there is.
const (
	breath     = 50 * time.Millisecond
	longBreath = time.Second
)

// rest is from when a round is asked for to when the next one may be: twice what the
// last one took, so that changes take up half of a controller's time at most.
func (s *ActiveDirectory) rest() time.Duration {
	least := breath
	if s.listed.Load() {
		least = longBreath
	}
	return max(least, 2*time.Duration(s.took.Load()))
}

// rememberEnds notes when the next membership ends by itself.
func (s *ActiveDirectory) rememberEnds(ends []linkEnd) {
	next := int64(0)
	for _, e := range ends {
		if at := e.End.Unix() + 1; next == 0 || at < next {
			next = at
		}
	}
	s.nextEnd.Store(next)
}

// Watch asks for change notifications (Rule AD-22) of the whole domain, and says
// as well when a membership ends by itself (Rule AD-23). Deletions are told of to
// those who may read the container Deleted Objects; to others the next round tells.
func (s *ActiveDirectory) Watch(ctx context.Context, start directory.Start, changed func()) error {
	last, err := s.last(start)
	if err != nil || last.Full.IsZero() {
		return err
	}
	s.rememberEnds(last.Ends)
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	d, err := s.survey(c)
	if err != nil {
		return ended(ctx, err)
	}
	if !d.root.offers(controlNotification) {
		return nil
	}
	events := make(chan struct{}, 1)
	over := make(chan error, 1)
	request := ldap.NewSearchRequest(d.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"},
		[]ldap.Control{ldap.NewControlString(controlNotification, true, ""), ldap.NewControlMicrosoftShowDeleted()})
	go func() {
		over <- c.watch([]*ldap.SearchRequest{request}, func(string) (bool, error) { return true, nil }, func() {
			select {
			case events <- struct{}{}:
			default: // it is known
			}
		})
	}()
	// What changed between the round and when the controller has the search.
	pending := true
	rested := time.NewTimer(longBreath) // it runs out when the next round may be asked for
	defer rested.Stop()
	ready := false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-over:
			return ended(ctx, err)
		case <-events:
			pending = true
		case <-rested.C:
			ready = true
		case <-tick.C:
			if next := s.nextEnd.Load(); next != 0 && s.now().Unix() >= next {
				pending = true
			}
		}
		if pending && ready {
			changed()
			pending, ready = false, false
			rested.Reset(s.rest())
		}
	}
}

// Probe connects, binds, tells what the domain is and what the account may, and
// counts what can be read.
func (s *ActiveDirectory) Probe(ctx context.Context) ([]string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	facts, err := s.probe(c)
	if err != nil {
		err = ended(ctx, err)
	}
	return facts, err
}

func (s *ActiveDirectory) probe(c *connection) ([]string, error) {
	d, err := s.survey(c)
	if err != nil {
		return nil, err
	}
	facts := []string{fmt.Sprintf("connected to %s, a controller of %s, whose database is %s", d.name, d.base, d.invocation)}
	method, err := s.method(d)
	if err != nil {
		return facts, err
	}
	facts = append(facts, "changes are followed by "+d.way(method))
	switch all, err := c.maySeeSecrets(d.base); {
	case err != nil:
		return facts, err
	case all:
		facts = append(facts, "WARNING: the account has Replicating Directory Changes All, which gives password hashes away; take it from it, and from its groups (Rule AD-5)")
	}
	kinds, err := s.kinds(d, nil)
	if err != nil {
		return facts, err
	}
	r := &adRound{round: &round{connection: c}, source: s, domain: d, kinds: kinds}
	for _, k := range kinds {
		count := 0
		if err := r.ids(k, k.filter, func(extended) error { count++; return nil }); err != nil {
			return facts, k.of(err)
		}
		fact := fmt.Sprintf("%d %s below %s", count, k.what, k.base)
		if count == 0 && k.kind != directory.KindOther {
			fact += "; see whether the base is right and the account that Ambit binds as may read it"
		}
		facts = append(facts, fact)
	}
	return facts, nil
}
