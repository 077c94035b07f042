package ldap

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// Watch holds a persistent search for each of the searches that a round consists
// of (RFC 4533, refreshAndPersist), from where the round ended: so nothing falls
// between, and a change is told of as it happens (Rule LDAP-23). What they say is only that there is something to read: a round reads
// it, with a cookie of its own, which is proof of life, too (Rule LDAP-24). A
// link that has died silently shows by TCP's keep-alive.
func (s *Source) Watch(ctx context.Context, start directory.Start, changed func()) error {
	last, err := s.last(start)
	if err != nil || last.Cookies == nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var requests []*ldap.SearchRequest
	for _, p := range slices.Concat(s.containerParts(), s.parts(nil)) {
		control := ldap.NewControlSyncRequest(ldap.SyncRequestModeRefreshAndPersist, last.Cookies[p.name()], false)
		requests = append(requests, ldap.NewSearchRequest(p.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, p.filter, []string{"1.1"}, []ldap.Control{control}))
	}
	return ended(ctx, c.watch(requests, func(message string) (bool, error) {
		if !isBetween(message) {
			return true, nil
		}
		info, err := readSyncInfo(message)
		return info.deleted || info.present, err
	}, changed))
}

// watch sends searches that have no end and calls changed when a message tells of
// a change. It returns when one of them ends all the same, or the connection.
func (c *connection) watch(requests []*ldap.SearchRequest, tells func(message string) (bool, error), changed func()) error {
	var searches sync.WaitGroup
	over := make(chan error, len(requests))
	for _, request := range requests {
		searches.Go(func() {
			_, err := c.ldap.Search(request)
			if err == nil {
				err = fmt.Errorf("%w: the server ended a search that has no end", directory.ErrIncomplete)
			} else {
				err = classify(err)
			}
			over <- err
		})
	}
	defer searches.Wait()
	defer func() { _ = c.link.Close() }() // which ends them
	for {
		select {
		case message := <-c.link.entries:
			yes, err := tells(message)
			if err != nil {
				return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
			if yes {
				changed()
			}
		case err := <-over:
			return err
		}
	}
}
