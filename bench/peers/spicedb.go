package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/cmd/datastore"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"github.com/authzed/spicedb/pkg/cmd/util"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// spiceDB is SpiceDB's server with its store in memory. There is no way in but
// gRPC, here over a pipe in the same process.
type spiceDB struct {
	cancel  context.CancelFunc
	ended   chan error
	conn    *grpc.ClientConn
	client  v1.PermissionsServiceClient
	users   []*v1.SubjectReference
	objects []*v1.ObjectReference
}

func (s *spiceDB) load(ctx context.Context, o *organisation) error {
	running, cancel := context.WithCancel(ctx)
	s.cancel = cancel
	data, err := datastore.NewDatastore(running, datastore.DefaultDatastoreConfig().ToOption(), datastore.WithEngine(datastore.MemoryEngine))
	if err != nil {
		return err
	}
	made, err := server.NewConfigWithOptionsAndDefaults(
		server.WithDatastore(data),
		server.WithGRPCServer(util.GRPCServerConfig{Network: util.BufferedNetwork, Enabled: true}),
		server.WithGRPCAuthFunc(func(ctx context.Context) (context.Context, error) { return ctx, nil }),
		server.WithMetricsAPI(util.HTTPServerConfig{}),
		server.WithOTel(*server.NewOTelConfigWithOptionsAndDefaults(server.WithPrometheusRegistry(prometheus.NewRegistry()))),
		server.WithSilentlyDisableTelemetry(true),
		server.WithTelemetryEndpoint(""),
		server.WithEnableMemoryProtectionMiddleware(false),
	).Complete(running)
	if err != nil {
		return err
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- made.Run(running) }()
	if s.conn, err = made.NewClient(); err != nil {
		return err
	}
	if _, err := v1.NewSchemaServiceClient(s.conn).WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: spiceSchema()}, grpc.WaitForReady(true)); err != nil {
		return err
	}
	s.client = v1.NewPermissionsServiceClient(s.conn)
	in, err := s.client.ImportBulkRelationships(ctx)
	if err != nil {
		return err
	}
	var batch []*v1.Relationship
	flush := func() error {
		err := in.Send(&v1.ImportBulkRelationshipsRequest{Relationships: batch})
		batch = nil
		return err
	}
	if err := o.relationships(func(r relationship) error {
		batch = append(batch, &v1.Relationship{
			Resource: &v1.ObjectReference{ObjectType: r.kind, ObjectId: r.id}, Relation: r.relation,
			Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: r.subject, ObjectId: r.subjectID}, OptionalRelation: r.subjectRelation},
		})
		if len(batch) == 1_000 {
			return flush()
		}
		return nil
	}); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := in.CloseAndRecv(); err != nil {
		return err
	}
	for n := range o.users {
		s.users = append(s.users, &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "user", ObjectId: userName(n)}})
	}
	for n, r := range o.records {
		s.objects = append(s.objects, &v1.ObjectReference{ObjectType: tableName(r.table), ObjectId: recordName(n)})
	}
	return nil
}

func spiceSchema() string {
	var b strings.Builder
	b.WriteString("definition user {}\n")
	b.WriteString("definition role {\n  relation holder: user | team#member\n  relation direct: user\n}\n")
	b.WriteString("definition team {\n  relation member: user\n")
	perPrivilege(&b, "  relation %[1]s: team#member")
	b.WriteString("}\ndefinition org {\n  relation barred: user\n")
	perPrivilege(&b, "  relation %[1]s_any: role#holder\n  relation %[1]s_owns: role#direct | role#holder\n  relation %[1]s_global: role#holder")
	b.WriteString("}\ndefinition unit {\n  relation parent: unit\n")
	perPrivilege(&b, "  relation %[1]s_local: user | team#member\n  relation %[1]s_deep_here: user | team#member\n  permission %[1]s_deep = %[1]s_deep_here + parent->%[1]s_deep")
	b.WriteString("}\n")
	for t := range tables {
		fmt.Fprintf(&b, "definition %s {\n  relation org: org\n  relation unit: unit\n  relation owner: user | team#member\n  relation owner_team: team\n", tableName(t))
		for i := range actions {
			p := privilege(t*actions + i)
			fmt.Fprintf(&b, "  relation shared_%[2]v: user | user:* | team#member\n"+
				"  permission %[2]v = (unit->%[1]s_local + unit->%[1]s_deep + org->%[1]s_global + (owner & org->%[1]s_owns) + owner_team->%[1]s + (shared_%[2]v & org->%[1]s_any)) - org->barred\n",
				p, p.action())
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func (s *spiceDB) check(ctx context.Context, q question) (bool, error) {
	r, err := s.client.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Resource: s.objects[q.record], Permission: q.privilege.action().String(), Subject: s.users[q.user],
	})
	return r.GetPermissionship() == v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, err
}

func (s *spiceDB) close() (err error) {
	if s.conn != nil {
		err = s.conn.Close()
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.ended != nil {
		err = errors.Join(err, <-s.ended)
	}
	return err
}
