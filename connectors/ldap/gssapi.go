package ldap

import (
	"crypto"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-ldap/ldap/v3/gssapi"
	gss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	krb "github.com/jcmturner/gokrb5/v8/types"

	"github.com/ambit-iam/ambit/directory"
)

// GSSAPI is how to bind by Kerberos (Rule LDAP-2): by a keytab, or by a credential
// cache that others keep fresh. Both are read anew for each connection.
type GSSAPI struct {
	// Principal is the account, as name@REALM; it goes with Keytab.
	Principal string `yaml:"principal"`
	// Keytab and CredentialCache are paths of files, one of the two.
	Keytab          string `yaml:"keytab"`
	CredentialCache string `yaml:"credential_cache"`
	// Krb5Conf says where the realm's KDCs are; /etc/krb5.conf where it is absent.
	Krb5Conf string `yaml:"krb5_conf"`
	// ServicePrincipal is the server's; ldap/ and the host of the URL, or server_name,
	// where it is absent.
	ServicePrincipal string `yaml:"service_principal"`
}

const defaultKrb5Conf = "/etc/krb5.conf"

func (g GSSAPI) validate(fault func(format string, args ...any)) {
	name, realm, ok := strings.Cut(g.Principal, "@")
	switch {
	case (g.Keytab == "") == (g.CredentialCache == ""):
		fault("gssapi: want keytab or credential_cache, one of the two")
	case g.Keytab != "" && (!ok || name == "" || realm == ""):
		fault("gssapi.principal: %q is not name@REALM, such as ambit@CORP.EXAMPLE.COM", g.Principal)
	case g.CredentialCache != "" && g.Principal != "":
		fault("gssapi.principal: the credential_cache says whose it is; leave it out")
	}
	for field, path := range map[string]string{"keytab": g.Keytab, "credential_cache": g.CredentialCache, "krb5_conf": g.Krb5Conf} {
		if path != "" && !filepath.IsAbs(path) {
			fault("gssapi.%s: it is not the absolute path of a file", field)
		}
	}
	if service, host, ok := strings.Cut(g.ServicePrincipal, "/"); g.ServicePrincipal != "" && (!ok || service == "" || host == "") {
		fault("gssapi.service_principal: %q is not such as ldap/dc1.corp.example.com", g.ServicePrincipal)
	}
}

// service is the principal that the ticket is for.
func (d *dialer) service() string {
	host := d.config.ServerName
	or(&host, d.target.host)
	name := d.config.GSSAPI.ServicePrincipal
	or(&name, "ldap/"+host)
	return name
}

// kerberos binds by SASL GSSAPI. No security layer of SASL's is asked for: TLS
// protects the connection, and the bind is bound to it (Rule AD-21).
func (d *dialer) kerberos(l *ldap.Conn, over net.Conn) error {
	client, err := d.config.GSSAPI.client()
	if err != nil {
		return fmt.Errorf("%w: %w", errTicket, err)
	}
	defer client.Destroy()
	bound := &boundClient{Client: client}
	if secure, ok := over.(*tls.Conn); ok {
		bound.bindings = endPoint(secure.ConnectionState().PeerCertificates[0])
	}
	err = l.GSSAPIBind(bound, d.service(), "")
	if ldap.IsErrorWithCode(err, ldap.LDAPResultStrongAuthRequired) && len(bound.bindings) > 0 {
		return fmt.Errorf("%w: %w", errLayer, err)
	}
	return err
}

// client reads the files. Where one is cut short the library may run out of it.
func (g GSSAPI) client() (client *gssapi.Client, err error) {
	file := g.Keytab
	or(&file, g.CredentialCache)
	defer func() {
		if recover() != nil {
			err = errors.New("it is of another form, or was cut short")
		}
		if err != nil {
			err = fmt.Errorf("%s, with %s: %w", file, g.Krb5Conf, err)
		}
	}()
	or(&g.Krb5Conf, defaultKrb5Conf)
	if g.CredentialCache != "" {
		return gssapi.NewClientFromCCache(g.CredentialCache, g.Krb5Conf)
	}
	name, realm, _ := strings.Cut(g.Principal, "@")
	return gssapi.NewClientWithKeytab(name, realm, g.Keytab, g.Krb5Conf)
}

var (
	// errTicket: there is no ticket to bind with.
	errTicket = errors.New("no Kerberos ticket to bind with; see gssapi and the krb5.conf that it names")
	// errLayer: TLS is not enough for the server.
	errLayer = errors.New("the server wants a security layer of SASL's own besides TLS, which Ambit does not have; let it take GSSAPI over TLS")
)

// boundClient is the library's, with the channel that the bind is made on in its
// first token (RFC 4121, 4.1.1), which the library leaves empty.
type boundClient struct {
	*gssapi.Client
	bindings []byte // application data; none: the channel is not TLS
}

// InitSecContext is InitSecContextWithOptions without options.
func (c *boundClient) InitSecContext(target string, input []byte) ([]byte, bool, error) {
	return c.InitSecContextWithOptions(target, input, nil)
}

// InitSecContextWithOptions makes the next token of the handshake.
func (c *boundClient) InitSecContextWithOptions(target string, input []byte, options []int) ([]byte, bool, error) {
	output, more, err := c.Client.InitSecContextWithOptions(target, input, options)
	if err != nil {
		if fault, ok := errors.AsType[krberror.Krberror](err); ok && fault.RootCause == krberror.NetworkingError {
			err = fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
		}
		return nil, false, fmt.Errorf("%w: %w", errTicket, err)
	}
	if input != nil {
		return output, more, nil
	}
	var token spnego.KRB5Token
	if err := token.Unmarshal(output); err != nil {
		return nil, false, err
	}
	ticket, key, err := c.GetServiceTicket(target) // the one that it has just asked for
	if err != nil {
		return nil, false, err
	}
	authenticator, err := krb.NewAuthenticator(c.Credentials.Domain(), c.Credentials.CName())
	if err != nil {
		return nil, false, err
	}
	authenticator.Cksum = krb.Checksum{CksumType: chksumtype.GSSAPI, Checksum: gssChecksum(c.bindings)}
	if token.APReq, err = messages.NewAPReq(ticket, key, authenticator); err != nil {
		return nil, false, err
	}
	krb.SetFlag(&token.APReq.APOptions, flags.APOptionMutualRequired)
	output, err = token.Marshal()
	return output, true, err
}

// gssChecksum is what the authenticator says of the context (RFC 4121, 4.1.1): the
// channel's digest and what is asked for.
func gssChecksum(bindings []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 16) // the digest's length
	var digest [16]byte
	if len(bindings) > 0 {
		// No addresses: four zeros, and then the length of the application's data.
		channel := binary.LittleEndian.AppendUint32(make([]byte, 16), uint32(len(bindings)))
		digest = md5.Sum(append(channel, bindings...)) // as the RFC has it
	}
	b = append(b, digest[:]...)
	return binary.LittleEndian.AppendUint32(b, gss.ContextFlagMutual|gss.ContextFlagInteg|gss.ContextFlagConf)
}

// endPoint is the channel binding tls-server-end-point (RFC 5929, 4): the digest of
// the server's certificate by the hash of its signature, or SHA-256 in the place of
// one that is weaker or none.
func endPoint(certificate *x509.Certificate) []byte {
	hash := crypto.SHA256
	switch certificate.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write(certificate.Raw) // it never fails
	return h.Sum([]byte("tls-server-end-point:"))
}
