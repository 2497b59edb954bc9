package controllers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

// routeTimeout is how long a route may take to answer the operator.
const routeTimeout = 3 * time.Second

// askRoute asks the API for its state by the URL that people use, at the address that the route's controller has given it:
// names may not be known to the cluster's DNS. The error is a sentence without an end.
func askRoute(ctx context.Context, base, address string) error {
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("%s is no URL", base)
	}
	client := &http.Client{
		Timeout: routeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
			// Whether people trust the authority the operator cannot know; that the certificate is for the host, it can.
			TLSClientConfig: &tls.Config{
				ServerName: u.Hostname(), MinVersion: tls.VersionTLS12,
				InsecureSkipVerify: true, VerifyConnection: certificateFits, //nolint:gosec // nothing secret is sent
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+config.PathReady, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return errors.New(unanswered(err))
	}
	defer resp.Body.Close()
	var answer config.Readiness
	err = json.NewDecoder(io.LimitReader(resp.Body, readinessLimit)).Decode(&answer)
	if err != nil || !slices.Contains([]string{config.StatusOK, config.StatusDegraded, config.StatusUnavailable}, answer.Status) {
		return fmt.Errorf("somebody else than the API answers, with %d", resp.StatusCode)
	}
	return nil
}

// certificateFits says whether a certificate is for the host and in force. An ingress controller that has none for a host
// takes one that it made up.
func certificateFits(state tls.ConnectionState) error {
	leaf, now := state.PeerCertificates[0], time.Now()
	if err := leaf.VerifyHostname(state.ServerName); err != nil {
		return err
	}
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired}
	}
	return nil
}

// unanswered says why a request had no answer, the same each time: without the port that it came from.
func unanswered(err error) string {
	var (
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown *net.DNSError
		network net.Error
	)
	switch {
	case errors.As(err, &host) && len(host.Certificate.DNSNames) > 0:
		return "the certificate is for " + strings.Join(host.Certificate.DNSNames[:min(3, len(host.Certificate.DNSNames))], ", ")
	case errors.As(err, &host):
		return "the certificate is for no host"
	case errors.As(err, &invalid):
		return "the certificate has expired, or is not valid yet"
	case errors.As(err, &unknown):
		return "the address is unknown"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.As(err, &network) && network.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "the connection is cut"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "plain HTTP is spoken there"
	}
	return "it cannot be reached"
}
