package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/api/oidctest"
	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/testdata/company"
)

func (c *command) demo() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a made-up company, and stay up to be tried",
		Long: `Start an LDAP server and a Graph-compatible server with a made-up company of 300
people, an OpenID issuer and the daemon, all on loopback in a new folder; walk
through sync, decisions, elevation, a leaver, a held plan and the audit log, with
the commands that a person would type and their real output; then stay up until
Ctrl-C. With --once it ends after the tour, and exits 0 only if every step had the
result that the tour claims.`,
		Example: "  ambit demo\n  ambit demo --once",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runDemo(cmd.Context(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the tour")
	return cmd
}

// The sign-ins of the demo's issuer.
const (
	employee = company.Employee + "@" + company.Domain
	approver = company.Approver + "@" + company.Domain
	auditor  = company.Auditor + "@" + company.Domain
	password = "demo"
)

// stage is the demo's scenery: its folder and its servers.
type stage struct {
	dir     string
	company *company.Company
	ldap    *ldaptest.Server
	graph   *graphtest.Server
	issuer  *oidctest.Issuer
	url     string // of the API
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

// close stops what was started and removes the folder.
func (s *stage) close() error {
	var errs []error
	if s.ldap != nil {
		errs = append(errs, s.ldap.Close())
	}
	if s.graph != nil {
		errs = append(errs, s.graph.Close())
	}
	if s.issuer != nil {
		s.issuer.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// build starts the servers and writes the configuration and the sign-ins' tokens.
func (s *stage) build() (err error) {
	if s.dir, err = os.MkdirTemp("", "ambit-demo-"); err != nil {
		return err
	}
	s.company = company.Small()
	if s.ldap, err = ldaptest.Start(s.dir, s.company.Entries()); err != nil {
		return err
	}
	if s.graph, err = graphtest.Start(s.dir, graphtest.Options{}); err != nil {
		return err
	}
	s.graph.Load(s.company)
	if s.issuer, err = oidctest.Start(s.dir, "ambit",
		oidctest.SignIn{UserName: employee, Password: password},
		oidctest.SignIn{UserName: approver, Password: password},
		oidctest.SignIn{UserName: auditor, Password: password},
	); err != nil {
		return err
	}
	for who, name := range map[string]string{"employee": employee, "approver": approver, "auditor": auditor} {
		token, err := s.issuer.Token(name, nil)
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.file(who+".token"), []byte(token), 0o600); err != nil {
			return err
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	s.url = "http://" + address
	if err := free.Close(); err != nil {
		return err
	}
	place := strings.NewReplacer(
		"127.0.0.1:10080", address, "https://127.0.0.1:10443", s.issuer.URL,
		"ldaps://127.0.0.1:10636", s.ldap.URL, "https://127.0.0.1:10444", s.graph.URL,
		"env:AMBIT_DEMO_LDAP_PASSWORD", "file:"+s.file("ldap-password"), "env:AMBIT_DEMO_GRAPH_SECRET", "file:"+s.file("graph-secret"),
		"issuer-ca.pem", s.issuer.CAFile, "ldap-ca.pem", s.ldap.CAFile, "graph-ca.pem", s.graph.CAFile,
	)
	for name, secret := range map[string]string{"ldap-password": ldaptest.Password, "graph-secret": graphtest.ClientSecret} {
		if err := os.WriteFile(s.file(name), []byte(secret), 0o600); err != nil {
			return err
		}
	}
	names, err := fs.Glob(configs.Demo, "demo/*.yaml")
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := configs.Demo.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.file(filepath.Base(name)), []byte(place.Replace(string(b))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) runDemo(ctx context.Context, once bool) (err error) {
	s := &stage{}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.build(); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	if err := os.Setenv("AMBIT_CONFIG", s.file("ambit.yaml")); err != nil {
		return err
	}
	config, err := configs.Load(s.file("ambit.yaml"))
	if err != nil {
		return err
	}
	d, err := assemble(ctx, config, c.err)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error {
		return errors.Join(d.serveOnDemand(ctx, func(string) { close(ready) }), d.close())
	})
	group.Go(func() error {
		defer cancel()
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		started := time.Now()
		t := &tour{command: c, stage: s, ctx: ctx}
		if err := t.walk(); err != nil {
			return err
		}
		if once {
			fmt.Fprintf(c.out, "\nEvery step had the result that the tour claims (%s).\n", time.Since(started).Round(time.Second))
			return nil
		}
		t.goOn()
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}
