package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi/internal/urls"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// callTimeout bounds a call of etcd, of which reading all takes many.
	callTimeout = 5 * time.Second
	// connectTimeout bounds the attempt to reach one server.
	connectTimeout = 2 * time.Second
	// minRetry and maxRetry bound the wait between attempts.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
	// pingInterval is the least that servers and gRPC allow. What was sent and
	// is not acknowledged within patience ends a connection sooner.
	pingInterval = 10 * time.Second
	// patience is how long the silence of a server is borne that owes an answer.
	patience = 3 * time.Second
	// maxMessage bounds an answer of etcd. What is longer is refused unread.
	maxMessage = 8 << 20
)

// dial returns a connection to the members of a cluster. It is made when it is
// first used, and comes back by itself. Calls go round the members that can be
// reached.
func dial(t target) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if t.tls != nil {
		transport = credentials.NewTLS(t.tls)
	}
	members := manual.NewBuilderWithScheme(plain)
	var state resolver.State
	for _, address := range t.hosts {
		host, _, _ := net.SplitHostPort(address) // it was joined
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address, ServerName: host}},
		})
	}
	members.InitialState(state)
	dialer := net.Dialer{Timeout: connectTimeout}
	return grpc.NewClient(plain+":///"+t.hosts[0],
		grpc.WithResolvers(members),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minRetry, Multiplier: 2, Jitter: 0.2, MaxDelay: maxRetry},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: patience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithIdleTimeout(0), // a connection that is lost is to be noticed by those who announce, too
	)
}

// call makes a call of etcd, within callTimeout at most, and says what its
// error means. Without a connection it fails at once. A token that has expired
// is renewed.
func (r *Registry) call(ctx context.Context, f func(context.Context) error) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	token, err := r.login.token(bounded, "")
	if err == nil {
		err = f(outgoing(bounded, token))
	}
	if expired(err) && token != "" {
		if token, err = r.login.token(bounded, token); err == nil {
			err = f(outgoing(bounded, token))
		}
	}
	return r.meaning(ctx, err)
}

// outgoing returns a context whose calls carry a token, and are refused by a
// member that is cut off from the others.
func outgoing(ctx context.Context, token string) context.Context {
	ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	if token == "" || token == noToken {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// meaning returns an error of a call as others are to see it. Those that this
// package acts upon stay what they are.
func (r *Registry) meaning(ctx context.Context, err error) error {
	known := rpctypes.Error(err)
	switch {
	case err == nil, errors.Is(err, errGap), errors.Is(err, errBehind), tooLong(err):
		return err
	case r.life.Err() != nil:
		return registry.ErrClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %s: %w", registry.ErrUnavailable, r.name, ctx.Err())
	case errors.Is(known, rpctypes.ErrAuthFailed):
		return fmt.Errorf("registry: %s refuses the user or the password", r.name)
	case errors.Is(known, rpctypes.ErrUserEmpty):
		return fmt.Errorf("registry: %s wants a user; add user@ and password_file to the URL", r.name)
	case errors.Is(known, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("registry: %s: the user may not use %s; grant it", r.name, r.prefix)
	case errors.Is(known, rpctypes.ErrCompacted), errors.Is(known, rpctypes.ErrFutureRev):
		return errGap
	case errors.Is(known, rpctypes.ErrLeaseNotFound):
		return errNoLease
	case errors.Is(known, rpctypes.ErrRequestTooLarge):
		return registry.ErrTooLarge
	}
	return fmt.Errorf("%w: %s: %s", registry.ErrUnavailable, r.name, status.Convert(err).Message())
}

// tooLong says that an answer, or a request, was longer than its reader takes.
func tooLong(err error) bool {
	var etcd rpctypes.EtcdError // has uses of its own for the code
	return status.Code(err) == codes.ResourceExhausted && !errors.As(rpctypes.Error(err), &etcd)
}

// expired says that a call needs a new token.
func expired(err error) bool {
	err = rpctypes.Error(err)
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) ||
		errors.Is(err, rpctypes.ErrUserEmpty)
}

// connected waits until there is a connection.
func (r *Registry) connected(ctx context.Context) error {
	for {
		state := r.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if !r.conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}

// noToken stands for the token of a server that wants none.
const noToken = "-"

// login has the token that calls carry.
type login struct {
	user     string // "" for none
	password func() (string, error)
	auth     pb.AuthClient
	current  chan string // holds the token; it is taken while another is asked for
}

// newLogin returns the login of t. A password that is in a file is read each
// time: passwords are exchanged while we run.
func newLogin(conn *grpc.ClientConn, t target) login {
	l := login{user: t.user, auth: pb.NewAuthClient(conn), current: make(chan string, 1)}
	l.password = func() (string, error) { return t.password, nil }
	if t.passwordFile != "" {
		l.password = func() (string, error) { return urls.Secret(urls.PasswordFile, t.passwordFile) }
	}
	l.current <- ""
	return l
}

// token returns a token other than stale, or "" if there is no user.
func (l *login) token(ctx context.Context, stale string) (token string, err error) {
	if l.user == "" {
		return "", nil
	}
	select {
	case token = <-l.current:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { l.current <- token }()
	if token != stale {
		return token, nil
	}
	password, err := l.password()
	if err != nil {
		return "", err
	}
	answer, err := l.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: l.user, Password: password})
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		return noToken, nil
	case err != nil:
		return "", err
	}
	return answer.GetToken(), nil
}
