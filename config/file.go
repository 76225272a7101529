//nolint:tagalign // tags are documentation: each is read on its own
package config

import (
	"path/filepath"
)

// A File is what the configuration file says. What is zero, or nil, is not in
// it, and means the default. Shared: read-only.
//
// The tags of the fields are the documentation of the keys; Schema and the
// reference in docs/configuration.md are made of them.
type File struct {
	Server `yaml:",inline"`

	TLS           *TLS           `yaml:"tls" doc:"Certificates of the public listener, those of clients, and where certificates come from."`
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol" doc:"Proxies in front of the public listener that say, by the PROXY protocol, for whom they connect."`
	AccessLog     *AccessLog     `yaml:"access_log" doc:"A line of JSON for each request."`
	Metrics       *Metrics       `yaml:"metrics" doc:"What /metrics of the admin API says."`
	Tracing       *Tracing       `yaml:"tracing" doc:"Traces of requests, over OTLP."`
	Limits        *Limits        `yaml:"limits" doc:"Bounds of the public listener as a whole, beyond which requests and connections are refused."`

	Identity *Identity           `yaml:"identity" reload:"true" doc:"Who requests may come from; auth names them."`
	Policy   *Policy             `yaml:"policy" reload:"true" doc:"Policy of all routes."`
	Patterns []Pattern           `yaml:"patterns" reload:"true" doc:"Policies by host and path of the request."`
	Service  map[string]*Service `yaml:"services" reload:"true" keys:"service" doc:"Policies by the name of the service."`
	Metadata []string            `yaml:"metadata" reload:"true" enum:"timeout|max_body|retries|max_in_flight|max_per_node|hash_by|cors|rate_limit|headers|security_headers|compress" doc:"Keys of policies that a service may set for its endpoints, by metadata of the same name." default:"none" example:"[timeout]"`
	Routes   []Route             `yaml:"routes" reload:"true" doc:"Routes to what no registry knows."`

	name   string
	places map[string]place
	inputs inputs
	empty  bool
}

// Server holds the settings of the server, each under the name of its flag. The
// flag, and its environment variable, win over the file.
type Server struct {
	Address        string   `yaml:"address" format:"hostport" doc:"Where clients connect." default:":8080" example:"\":8443\""`
	Admin          string   `yaml:"admin" format:"hostport" doc:"Where the admin API listens." default:"127.0.0.1:8081" example:"\"127.0.0.1:9081\""`
	NATS           string   `yaml:"nats" format:"hostport or off" doc:"Where the embedded bus listens; off keeps it inside the process." default:"127.0.0.1:4222" example:"\"off\""`
	Registry       []string `yaml:"registry" items:"1" format:"plugin" doc:"URLs of registries; an earlier one takes precedence." default:"embedded:" example:"[\"nats://10.0.0.1:4222\"]"`
	Broker         string   `yaml:"broker" format:"plugin or off" doc:"URL of the message broker." default:"embedded: where a registry is that, else off" example:"\"nats://10.0.0.1:4222\""`
	Mount          []string `yaml:"mount" format:"mount" doc:"Paths that are given to handlers." default:"none" example:"[/events=event]"`
	Publish        []string `yaml:"publish" format:"text" doc:"Topics that clients may publish on." default:"none" example:"[orders.*]"`
	Subscribe      []string `yaml:"subscribe" format:"text" doc:"Topics that clients of a broker mount may receive." default:"none" example:"[orders.*]"`
	Push           []string `yaml:"push" format:"text" doc:"Topics whose messages are pushed to services that ask for it." default:"none" example:"[orders.*]"`
	Data           Path     `yaml:"data" doc:"Directory for what must survive a restart." default:"$XDG_STATE_HOME/goapi" example:"/var/lib/goapi"`
	Resolver       string   `yaml:"resolver" enum:"micro|path|vpath|host|grpc|subdomain|none" doc:"What names the service of a request without a route. That of gRPC is named by the path of its method, unless this is none." default:"micro" example:"none"`
	Namespace      string   `yaml:"namespace" format:"value" doc:"Prefix of the service names that the resolver finds." default:"none" example:"com.example"`
	Handler        string   `yaml:"handler" enum:"auto|rpc|http|web|api" doc:"What serves a request without a route." default:"auto" example:"http"`
	APIFormat      string   `yaml:"api_format" enum:"json|protobuf" doc:"Encoding of the messages of the handler api. Services of go-micro v2.0 to v3.5 leave a call in protobuf unanswered that fails." default:"json" example:"protobuf"`
	LogLevel       string   `yaml:"log_level" enum:"debug|info|warn|error" doc:"The least that is logged." default:"info" example:"warn"`
	LogFormat      string   `yaml:"log_format" enum:"text|json" doc:"How it is logged." default:"text" example:"json"`
	AdminTokenFile Path     `yaml:"admin_token_file" format:"file" doc:"File whose first line is the token of the admin API; needed when admin is not loopback." default:"none" example:"admin.token"`
	AdminHost      []string `yaml:"admin_host" format:"domain" doc:"Host names that the admin API answers to, besides IP addresses and localhost." default:"none" example:"[goapi.internal]"`
	NATSTokenFile  Path     `yaml:"nats_token_file" format:"file" doc:"File whose first line is the token of the embedded bus; needed when nats is not loopback." default:"none" example:"nats.token"`
	TrustedProxy   []Prefix `yaml:"trusted_proxy" doc:"Proxies whose X-Forwarded-For is believed." default:"none" example:"[10.0.0.0/8]"`
	TLSCert        Path     `yaml:"tls_cert" format:"file" doc:"PEM file of a certificate of the public listener, its chain included; more of them are in tls." default:"clear text" example:"cert.pem"`
	TLSKey         Path     `yaml:"tls_key" format:"file" doc:"PEM file of its private key." default:"none" example:"key.pem"`
	UpstreamCA     Path     `yaml:"upstream_ca" format:"file" doc:"PEM file of the authority that signed the certificates of nodes." default:"the system's" example:"ca.pem"`
	UpstreamCert   Path     `yaml:"upstream_cert" format:"file" doc:"PEM file of the certificate that nodes get to see of the gateway." default:"none" example:"cert.pem"`
	UpstreamKey    Path     `yaml:"upstream_key" format:"file" doc:"PEM file of its private key." default:"none" example:"key.pem"`
	Origin         []string `yaml:"origin" format:"origin" doc:"Web pages that may open WebSockets and, of mounts, publish, besides the gateway's own. Without any, a WebSocket that is proxied to a service (handler web) may come from any page: the service looks at Origin." default:"none" example:"[\"https://app.example.com\"]"`
	DrainDelay     Duration `yaml:"drain_delay" min:"1ms" max:"1h" doc:"Time between the moment when /readyz fails and the end of accepting connections." default:"none" example:"5s"`
	Drain          Duration `yaml:"drain" min:"1ms" max:"24h" doc:"Time that requests in flight get when the gateway stops." default:"30s" example:"1m"`
}

// TLS is how the public listener speaks TLS.
type TLS struct {
	Certificates []Certificate `yaml:"certificates" items:"1" doc:"Certificates, of which each connection gets the one for the name that it asks for. They are read again when the files change." example:"[{cert: cert.pem, key: key.pem}]"`
	ClientCA     Path          `yaml:"client_ca" format:"file" doc:"PEM file of the authorities that sign certificates of clients." default:"none" example:"clients.pem"`
	ClientAuth   string        `yaml:"client_auth" enum:"none|request|require" doc:"Whether clients are asked for a certificate, and whether they need one." default:"require where client_ca is set, else none" example:"request"`
	MinVersion   string        `yaml:"min_version" enum:"1.2|1.3" doc:"The oldest version of TLS that is spoken." default:"1.2" example:"\"1.3\""`
	Tickets      bool          `yaml:"tickets" doc:"Clients may resume sessions by tickets, which spares them and the gateway most of a handshake." default:"false" example:"true"`
	HTTP         string        `yaml:"http" format:"hostport" doc:"Where clients of plain HTTP connect, who are sent on to TLS. ACME is answered there, too: port 80 of the names must lead to it." default:"none: ACME is answered over TLS alone" example:"\":80\""`
	Port         int           `yaml:"port" min:"1" max:"65535" doc:"Port at which clients find TLS, where it is not that of address: they are sent on to it." default:"that of address" example:"443"`
	ACME         *ACME         `yaml:"acme" doc:"Certificates that an authority issues by ACME."`
}

// A Certificate is the files of one.
type Certificate struct {
	Cert Path `yaml:"cert" format:"file" required:"true" doc:"PEM file of the certificate, its chain included." example:"cert.pem"`
	Key  Path `yaml:"key" format:"file" required:"true" doc:"PEM file of its private key." example:"key.pem"`
}

// ACME says which certificates are asked for, and from whom.
type ACME struct {
	Email         string   `yaml:"email" format:"email" doc:"Where the authority writes to." default:"none" example:"ops@example.com"`
	Domains       []string `yaml:"domains" format:"domain" doc:"Names to have certificates for." example:"[api.example.com]"`
	OnDemandAllow []string `yaml:"on_demand_allow" format:"domain" doc:"Names that a certificate is asked for when a client first wants one." default:"none" example:"[\"*.customers.example.com\"]"`
	CA            string   `yaml:"ca" format:"url" doc:"Directory URL of the authority." default:"Let's Encrypt" example:"\"https://acme.example.com/directory\""`
	CARoot        Path     `yaml:"ca_root" format:"file" doc:"PEM file of the authority that signed the certificate of the directory." default:"the system's" example:"ca.pem"`
	Storage       string   `yaml:"storage" enum:"disk|nats" doc:"Where certificates are kept: below data, or on the bus, where several gateways share them." default:"disk" example:"nats"`
	Replicas      int      `yaml:"replicas" min:"1" max:"5" doc:"Servers of a NATS cluster that hold the certificates, of storage nats." default:"1" example:"3"`
	EAB           *EAB     `yaml:"eab" doc:"The account at the authority that the gateway's own is bound to."`
}

// An EAB is an external account binding of ACME.
type EAB struct {
	KeyID      string `yaml:"key_id" format:"text" required:"true" doc:"Name of the key." example:"k1"`
	MACKey     Secret `yaml:"mac_key" doc:"The key, in base64url." example:"\"${EAB_KEY}\""`
	MACKeyFile Path   `yaml:"mac_key_file" format:"file" doc:"File whose first line is the key." example:"eab.key"`
}

// ProxyProtocol says whose PROXY protocol is believed.
type ProxyProtocol struct {
	From     []Prefix `yaml:"from" items:"1" required:"true" doc:"Addresses of the proxies." example:"[10.0.0.0/8]"`
	Optional bool     `yaml:"optional" doc:"Connections from there may come without the header." default:"false" example:"true"`
}

// AccessLog says what is logged of each request.
type AccessLog struct {
	Output string   `yaml:"output" enum:"stdout|stderr|off" doc:"Where lines go." default:"stdout" example:"stderr"`
	File   Path     `yaml:"file" doc:"File that lines are added to, instead." default:"none" example:"/var/log/goapi/access.log"`
	Sample *float64 `yaml:"sample" min:"0" max:"1" doc:"Share of the answers below 400 that are logged; all others always are." default:"1" example:"0.1"`
	Query  bool     `yaml:"query" doc:"Log the names in the query, without their values." default:"false" example:"true"`
	Buffer Size     `yaml:"buffer" min:"4KiB" max:"1GiB" doc:"Bound of the lines that wait to be written." default:"1MiB" example:"4MiB"`
}

// Metrics says what is measured.
type Metrics struct {
	Off     bool      `yaml:"off" doc:"Measure nothing." default:"false" example:"true"`
	Buckets []float64 `yaml:"buckets" min:"0.00001" max:"3600" doc:"Upper bounds of the histograms of durations, in seconds, the smaller first." default:"1 ms to 30 s in 13 steps" example:"[0.01, 0.1, 1, 10]"`
	Native  bool      `yaml:"native" doc:"Add native histograms, for servers that ask for them." default:"false" example:"true"`
	Nodes   bool      `yaml:"nodes" doc:"Add series for each node, of which there may be many." default:"false" example:"true"`
}

// Tracing says where traces go.
type Tracing struct {
	Endpoint   string            `yaml:"endpoint" format:"collector" doc:"URL of the collector: http:// or https:// for OTLP over HTTP, grpc:// or grpcs:// for OTLP over gRPC." default:"http://127.0.0.1:4318" example:"\"grpc://127.0.0.1:4317\""`
	Sample     *float64          `yaml:"sample" min:"0" max:"1" doc:"Share of the requests that are recorded." default:"0.01" example:"0.1"`
	Incoming   string            `yaml:"incoming" enum:"join|trust|restart" doc:"What becomes of the traces of clients: join carries them on, trust lets the client say what is recorded, too, restart begins new ones." default:"join" example:"restart"`
	Service    string            `yaml:"service" format:"text" doc:"Name of the gateway in traces." default:"goapi" example:"edge"`
	Attributes map[string]string `yaml:"attributes" keys:"text" format:"value" doc:"What else is said of the gateway." default:"none" example:"{deployment.environment.name: production}"`
	Client     bool              `yaml:"client" doc:"Addresses of clients are recorded." default:"false" example:"true"`
	Headers    map[string]Secret `yaml:"headers" keys:"header" format:"value" doc:"Headers for the collector." default:"none" example:"{Authorization: \"Bearer ${OTLP_TOKEN}\"}"`
	CA         Path              `yaml:"ca" format:"file" doc:"PEM file of the authority that signed the certificate of the collector." default:"the system's" example:"ca.pem"`
}

// Share returns what options have for the sample: 0 is the default, and a
// negative number none.
func (a *AccessLog) Share() float64 { return share(a.Sample) }

// Share returns what options have for the sample: 0 is the default, and a
// negative number none.
func (t *Tracing) Share() float64 { return share(t.Sample) }

func share(sample *float64) float64 {
	switch {
	case sample == nil:
		return 0
	case *sample == 0:
		return -1
	}
	return *sample
}

// Limits bound the public listener as a whole. A bound that is not set is none,
// unless its default says otherwise.
type Limits struct {
	InFlight             int      `yaml:"in_flight" min:"1" doc:"Requests that are served at a time; more are answered with 503." default:"none" example:"10000"`
	Streams              int      `yaml:"streams" min:"1" doc:"WebSockets, and requests for event streams, that are served at a time; they do not count as in_flight." default:"as in_flight, and at most 8192 WebSockets and other upgrades, and 10000 streams over RPC" example:"5000"`
	StreamIdle           Duration `yaml:"stream_idle" min:"1s" max:"24h" doc:"Time in which neither side of a stream, a WebSocket or a proxied answer sends anything, after which it ends." default:"5m" example:"1h"`
	StreamTotal          Duration `yaml:"stream_total" min:"1s" max:"8760h" doc:"Time that a stream over RPC may take in all." default:"none" example:"24h"`
	PerClient            int      `yaml:"per_client" min:"1" doc:"Requests and streams of one client that are served at a time; more are answered with 429." default:"none" example:"100"`
	Memory               Size     `yaml:"memory" min:"16MiB" doc:"Heap in use beyond which new requests are answered with 503." default:"none" example:"1GiB"`
	Connections          int      `yaml:"connections" min:"1" doc:"Connections that are open at a time." default:"none" example:"20000"`
	ConnectionsPerClient int      `yaml:"connections_per_client" min:"1" doc:"Connections of one client that are open at a time." default:"none" example:"200"`
	HeaderBytes          Size     `yaml:"header_bytes" min:"1KiB" max:"16MiB" doc:"Header block of a request; up to 4 KiB more are read." default:"64KiB" example:"32KiB"`
	HeaderFields         int      `yaml:"header_fields" min:"1" max:"10000" doc:"Header lines of a request." default:"200" example:"100"`
	URLBytes             Size     `yaml:"url_bytes" min:"64B" max:"1MiB" doc:"Target of a request." default:"16KiB" example:"8KiB"`
	HeaderTimeout        Duration `yaml:"header_timeout" min:"1ms" max:"1h" doc:"Time a client takes to send the header of a request." default:"10s" example:"5s"`
	BodyTimeout          Duration `yaml:"body_timeout" min:"1ms" max:"24h" doc:"Time a client takes to send the body of a request." default:"30s" example:"5m"`
	IdleTimeout          Duration `yaml:"idle_timeout" min:"1ms" max:"24h" doc:"Time a connection waits for its next request." default:"2m" example:"1m"`
	WriteTimeout         Duration `yaml:"write_timeout" min:"1ms" max:"24h" doc:"Time in which a client takes nothing of what is written to it." default:"5m" example:"1m"`
	StreamsPerConnection int      `yaml:"streams_per_connection" min:"1" max:"10000" doc:"Requests at a time on a connection of HTTP/2." default:"250" example:"100"`
}

// Name returns the name of the file, as it was given.
func (f *File) Name() string { return f.name }

// Empty says whether the file says nothing at all, not even {}: it may be on its
// way.
func (f *File) Empty() bool { return f.empty }

// from names a place of the file, for people.
func (f *File) from(key string) string {
	at, ok := f.places[key]
	if !ok {
		return key
	}
	return key + " (" + filepath.Base(f.name) + ":" + itoa(at.line) + ")"
}

// Position returns where a key stands in the file: FILE:LINE:COLUMN, or FILE for
// one that it does not have.
func (f *File) Position(key string) string {
	at, ok := f.places[key]
	if !ok {
		return f.name
	}
	return f.name + ":" + itoa(at.line) + ":" + itoa(at.column)
}
