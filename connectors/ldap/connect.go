package ldap

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// target is what a URL of the configuration says.
type target struct {
	scheme, network, address string
	host                     string // empty for a socket
}

const defaultSocket = "/var/run/slapd/ldapi"

func parseURL(raw string) (target, error) {
	// The path of a socket is in the place of a host, where net/url does not
	// allow its slashes to be escaped.
	if rest, ok := strings.CutPrefix(raw, "ldapi://"); ok {
		socket, err := url.PathUnescape(rest)
		switch {
		case err != nil:
			return target{}, err
		case socket == "" || socket == "/":
			socket = defaultSocket
		case !path.IsAbs(socket):
			return target{}, fmt.Errorf("want ldapi:// and a socket's path, such as ldapi://%%2Frun%%2Fslapd%%2Fldapi, not %q", raw)
		}
		return target{scheme: "ldapi", network: "unix", address: path.Clean(socket)}, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		var fault *url.Error
		if errors.As(err, &fault) {
			err = fault.Err // without the URL, which may hold a password
		}
		return target{}, err
	}
	port := map[string]string{"ldaps": "636", "ldap": "389"}[u.Scheme]
	switch {
	case u.User != nil:
		return target{}, errors.New("a URL carries no password; use bind_dn and password")
	case port == "":
		return target{}, fmt.Errorf("want ldaps://host, ldap://host or ldapi://path, not %q", raw)
	case u.Hostname() == "":
		return target{}, errors.New("the host is missing")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return target{}, errors.New("want a host only; bases and filters have settings of their own")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return target{scheme: u.Scheme, network: "tcp", address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname()}, nil
}

// dialer connects to one server.
type dialer struct {
	config Server
	target target
	tls    *tls.Config
}

func newDialer(c Server) (*dialer, error) {
	where, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	d := &dialer{config: c.withDefaults(), target: where, tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		d.tls.RootCAs = x509.NewCertPool()
		if !d.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.ClientCertificate != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertificate, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		d.tls.Certificates = []tls.Certificate{pair}
	}
	return d, nil
}

// connection is a bound one.
type connection struct {
	ldap     *ldap.Conn
	link     *link
	stop     func() bool
	pageSize uint32
	// refer finds out where a reference leads; nil: none is followed.
	refer func(reference string, scope int) (*connection, string, error)
}

func (c *connection) close() {
	c.stop()
	// The link first, so that nothing waits for a server that says nothing.
	_ = c.link.Close() // nothing was written that could be lost
	_ = c.ldap.Close()
}

// connect dials, encrypts, verifies and binds, in this order. The connection
// closes when the context ends, too.
func (d *dialer) connect(ctx context.Context) (*connection, error) {
	where := d.target
	raw, err := (&net.Dialer{Timeout: d.config.idle()}).DialContext(ctx, where.network, where.address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", d.config.URL, directory.ErrUnreachable, err)
	}
	conn, err := d.secure(ctx, raw)
	if err != nil {
		_ = raw.Close() // never go on in the clear (Rule LDAP-1)
		return nil, err
	}
	k := newLink(conn, d.config.idle())
	// go-ldap's own time limit stays off. It is for a whole search, and where it
	// strikes while the reader of a search is late, a packet is dropped and the
	// search may still end well.
	c := &connection{ldap: ldap.NewConn(k, conn != raw), link: k, pageSize: d.config.PageSize}
	c.stop = context.AfterFunc(ctx, func() { _ = k.Close() })
	c.ldap.Start()
	k.await(true)
	err = d.bind(c.ldap, conn)
	k.await(false)
	if err != nil {
		c.close()
		return nil, ended(ctx, err)
	}
	return c, nil
}

// secure encrypts the connection, if it is not to a socket or to this very host
// and said to be plain.
func (d *dialer) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	where := d.target
	if where.scheme == "ldapi" {
		return raw, nil
	}
	if where.scheme == "ldap" && !d.config.StartTLS {
		// The configuration's word is not enough: a name may lead elsewhere.
		if peer, ok := raw.RemoteAddr().(*net.TCPAddr); !ok || !peer.IP.IsLoopback() {
			return nil, fmt.Errorf("connect to %s: %w: %s is not this host, and the connection is not encrypted (insecure_plaintext_loopback)",
				d.config.URL, directory.ErrUnreachable, raw.RemoteAddr())
		}
		return raw, nil
	}
	limited, cancel := context.WithTimeout(ctx, d.config.idle())
	defer cancel()
	if d.config.StartTLS {
		if err := startTLS(limited, raw); err != nil {
			return nil, ended(ctx, fmt.Errorf("secure the connection to %s: StartTLS: %w: %w", d.config.URL, directory.ErrUnreachable, err))
		}
	}
	verified := d.tls.Clone()
	if verified.ServerName == "" {
		verified.ServerName = where.host
	}
	conn := tls.Client(buffered{raw, bufio.NewReaderSize(raw, 64<<10)}, verified)
	if err := conn.HandshakeContext(limited); err != nil {
		return nil, untrusted(d.config.URL, err)
	}
	return conn, nil
}

// buffered reads as much as there is. TLS by itself reads little more than it needs
// for one record, and slapd makes a record of each entry.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// startTLS asks the server to speak TLS from now on (RFC 4511, 4.14). go-ldap
// can do that too, but keeps the encrypted connection to itself.
func startTLS(ctx context.Context, raw net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) }) // the past
	defer stop()
	message := ber.NewSequence("")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	request := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "")
	request.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, "1.3.6.1.4.1.1466.20037", ""))
	message.AppendChild(request)
	if _, err := raw.Write(message.Bytes()); err != nil {
		return err
	}
	// The answer is read byte by byte, and not one byte more: behind it TLS begins.
	answer, err := ber.ReadPacket(io.LimitReader(raw, 64<<10))
	if err != nil {
		return err
	}
	return ldap.GetLDAPError(answer)
}

func untrusted(address string, err error) error {
	hint := ""
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		hint = "; name the certificate of its authority with ca_file"
	case errors.As(err, &name):
		hint = "; use the name that the certificate holds, or give it as server_name"
	}
	return fmt.Errorf("secure the connection to %s: %w: %w%s", address, directory.ErrUnreachable, err, hint)
}

func (d *dialer) bind(l *ldap.Conn, over net.Conn) error {
	var err error
	who := "by SASL EXTERNAL"
	switch {
	case d.config.External:
		err = l.ExternalBind()
	case d.config.GSSAPI != nil:
		who = "by SASL GSSAPI to " + d.service()
		err = d.kerberos(l, over)
	default:
		who = "as " + d.config.BindDN
		password, secretErr := d.config.Password.Resolve()
		if secretErr != nil {
			return fmt.Errorf("bind %s: %w: %w", who, directory.ErrAuth, secretErr)
		}
		err = l.Bind(d.config.BindDN, string(password))
	}
	var result *ldap.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, directory.ErrUnreachable): // the KDC
		return fmt.Errorf("bind to %s %s: %w", d.config.URL, who, err)
	case errors.Is(err, errTicket), errors.Is(err, errLayer):
		return fmt.Errorf("bind to %s %s: %w: %w", d.config.URL, who, directory.ErrAuth, err)
	case !errors.As(err, &result) || result.ResultCode == ldap.ErrorNetwork: // not the server's word
		return fmt.Errorf("bind to %s %s: %w: %w", d.config.URL, who, directory.ErrUnreachable, err)
	}
	return fmt.Errorf("bind to %s %s: %w", d.config.URL, who, classify(err))
}

// classify joins the kind of a server's or connection's error to it.
func classify(err error) error {
	switch {
	// Rule AD-21
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultConfidentialityRequired):
		return fmt.Errorf("%w: %w; the server wants the connection encrypted: use ldaps:// or start_tls: true", directory.ErrAuth, err)
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultAuthMethodNotSupported):
		return fmt.Errorf("%w: %w", directory.ErrAuth, err)
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultUnavailable, ldap.LDAPResultBusy):
		return fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
	// Rule LDAP-5
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded):
		return fmt.Errorf("%w: %w; lift the limit for the account that Ambit binds as", directory.ErrIncomplete, err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultReferral):
		return fmt.Errorf("%w: %w: the server does not have that itself and refers to %s; only the configured server is asked, or those of referrals (Rule LDAP-7)",
			directory.ErrIncomplete, err, strings.Join(referrals(err), " or "))
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return fmt.Errorf("%w: %w; see whether the base is right and the account that Ambit binds as may read it", directory.ErrIncomplete, err)
	}
	return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
}

// ended prefers the reason why the caller ended the read.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, cause)
	}
	return err
}
