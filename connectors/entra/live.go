package entra

import (
	"context"
	"fmt"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/groups"
	"github.com/microsoftgraph/msgraph-sdk-go/users"

	"github.com/ambit-iam/ambit/directory"
)

var _ directory.LiveChecker = (*Source)(nil)

// livePage is how many are asked for at once.
const livePage int32 = 999

// list reads a list of a live check to its end: the ids, as edges name them, of those
// whose type is wanted.
func (s *Source) list(ctx context.Context, r request, of directory.ObjectID, wanted func(odataType string) bool) ([]directory.Ref, error) {
	defer s.graph.wire.base.CloseIdleConnections()
	refs := []directory.Ref{}
	err := s.graph.pages(ctx, r, func(into any) error { return s.graph.get(ctx, r, into) }, func(o object) error {
		id, err := o.id()
		if err == nil && wanted(o.text("@odata.type")) {
			refs = append(refs, directory.ByID(id))
		}
		return err
	})
	return refs, live(of, err)
}

// live is a live check's error.
func live(of directory.ObjectID, err error) error {
	switch {
	case gone(err):
		return fmt.Errorf("%s: %w", of, directory.ErrNoObject)
	case err != nil:
		return fmt.Errorf("ask for %s: %w", of, incomplete(err))
	}
	return nil
}

// LiveGroups asks for the groups that the user is in, directly or through others, which
// Graph puts together itself (Rule GRAPH-22). Groups that hide their members are not
// told of everywhere.
func (s *Source) LiveGroups(ctx context.Context, user directory.ObjectID) (directory.Live, error) {
	r := request{needs: "GroupMember.Read.All", build: func() (*abstractions.RequestInformation, error) {
		top := livePage
		return users.NewUsersRequestBuilderInternal(map[string]string{}, s.graph.adapter).ByUserId(string(user)).TransitiveMemberOf().ToGetRequestInformation(ctx,
			&users.ItemTransitiveMemberOfRequestBuilderGetRequestConfiguration{QueryParameters: &users.ItemTransitiveMemberOfRequestBuilderGetQueryParameters{
				Select: []string{"id"}, Top: &top,
			}})
	}}
	// Directory roles and administrative units are among them.
	refs, err := s.list(ctx, r, user, func(odataType string) bool { return odataType == "#microsoft.graph.group" })
	if err != nil {
		return directory.Live{}, err
	}
	return directory.Live{Refs: refs, Untold: func(g directory.Object) bool { return g.Get(directory.AttrVisibility) == hiddenMembership }}, nil
}

// LiveMembers asks for the group's direct members (Rule GRAPH-22).
func (s *Source) LiveMembers(ctx context.Context, group directory.ObjectID) (directory.Live, error) {
	one := groups.NewGroupsRequestBuilderInternal(map[string]string{}, s.graph.adapter).ByGroupId(string(group))
	r := request{needs: "GroupMember.Read.All", build: func() (*abstractions.RequestInformation, error) {
		top := livePage
		return one.Members().ToGetRequestInformation(ctx, &groups.ItemMembersRequestBuilderGetRequestConfiguration{
			QueryParameters: &groups.ItemMembersRequestBuilderGetQueryParameters{Select: []string{"id"}, Top: &top},
		})
	}}
	refs, err := s.list(ctx, r, group, func(string) bool { return true })
	if err != nil {
		return directory.Live{}, err
	}
	if len(refs) > 0 {
		return directory.Live{Refs: refs}, nil
	}
	var o object
	if err := s.graph.get(ctx, request{needs: "GroupMember.Read.All", build: func() (*abstractions.RequestInformation, error) {
		return one.ToGetRequestInformation(ctx, &groups.GroupItemRequestBuilderGetRequestConfiguration{
			QueryParameters: &groups.GroupItemRequestBuilderGetQueryParameters{Select: []string{"id", "visibility"}},
		})
	}}, &o); err != nil {
		return directory.Live{}, live(group, err)
	}
	if held, _ := s.graph.credential.holds(memberReadHidden); o.hidesMembers() && !held {
		return directory.Live{}, fmt.Errorf("%w: %s hides its members; grant the application permission %s", directory.ErrIncomplete, group, memberReadHidden)
	}
	return directory.Live{Refs: refs}, nil
}
