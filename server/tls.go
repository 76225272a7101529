package server

import (
	"crypto/tls"
	"slices"
)

// What is spoken over TLS, as ALPN has it.
const (
	protoHTTP1 = "http/1.1"
	protoHTTP2 = "h2"
	protoACME  = "acme-tls/1" // a handshake, and nothing else
)

// cipherSuites are those of TLS 1.2 that have forward secrecy and authenticated
// encryption; TLS 1.3 has no others.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// speakHTTP returns a copy that says what is spoken, if conf does not.
func speakHTTP(conf *tls.Config) *tls.Config {
	if conf == nil {
		return nil
	}
	conf = conf.Clone()
	if !slices.Contains(conf.NextProtos, protoHTTP2) && !slices.Contains(conf.NextProtos, protoHTTP1) {
		conf.NextProtos = append(slices.Clone(conf.NextProtos), protoHTTP2, protoHTTP1)
	}
	return conf
}
