package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Problem is a reason why the database cannot be used or migrated, for the people who
// run the platform. It names host and database and holds no secrets.
type Problem struct {
	Code    config.Code
	Message string // what happened
	Remedy  string // what to do about it
}

// Error returns the message and the remedy as one sentence.
func (p *Problem) Error() string {
	if p.Remedy == "" {
		return p.Message
	}
	return p.Message + ": " + p.Remedy
}

// Diagnose explains an error of Schema or another method in terms of the database's address.
func (s *Store) Diagnose(err error) *Problem {
	return diagnose(err, s.pool.Config().ConnConfig.Config)
}

// diagnose explains err as it came from a connection made with cfg.
func diagnose(err error, cfg pgconn.Config) *Problem {
	var (
		problem *Problem
		server  *pgconn.PgError
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &server):
		return diagnoseAnswer(server, cfg)
	}
	return diagnoseSilence(err, cfg)
}

// diagnoseAnswer explains an error that the server itself reported.
func diagnoseAnswer(server *pgconn.PgError, cfg pgconn.Config) *Problem {
	database := fmt.Sprintf("database %s at %s", cfg.Database, address(cfg))
	switch {
	case strings.HasPrefix(server.Code, "28"):
		return &Problem{
			config.CodeDatabaseAuth,
			fmt.Sprintf("the server at %s refused user %s (%s)", address(cfg), cfg.User, server.Message),
			"correct the user name or the password in DATABASE_URL, or let that user in",
		}
	case server.Code == stateNoSuchDatabase:
		return &Problem{
			config.CodeDatabaseMissing,
			fmt.Sprintf("the server at %s has no database %s", address(cfg), cfg.Database),
			"create it, or correct the name in DATABASE_URL",
		}
	case server.Code == stateCannotConnectNow, strings.HasPrefix(server.Code, "57P"):
		return &Problem{
			config.CodeDatabaseUnreachable,
			fmt.Sprintf("the server at %s takes no connections (%s)", address(cfg), server.Message),
			"wait until it has started",
		}
	case strings.HasPrefix(server.Code, "53"):
		return &Problem{
			config.CodeDatabaseUnreachable,
			fmt.Sprintf("the server at %s is out of resources (%s)", address(cfg), server.Message),
			"give it more, or lower the number of its clients",
		}
	case server.Code == statePermission, server.Code == stateNoSuchSchema:
		return &Problem{
			config.CodePermissionDenied,
			fmt.Sprintf("user %s lacks a right in %s (%s)", cfg.User, database, server.Message),
			fmt.Sprintf("grant it; a migration needs CREATE and USAGE on the schema: GRANT CREATE, USAGE ON SCHEMA public TO %q, run by the database's owner", cfg.User),
		}
	case server.Code == stateNoSuchTable && strings.Contains(server.Message, markerTable):
		return &Problem{
			config.CodeMigrationFailed,
			database + " has no schema yet",
			"run `assetplatform migrate`",
		}
	}
	return &Problem{
		config.CodeMigrationFailed,
		fmt.Sprintf("%s reported: %s (SQLSTATE %s)", database, server.Message, server.Code),
		"see the log for the statement",
	}
}

// diagnoseSilence explains why no server answered.
func diagnoseSilence(err error, cfg pgconn.Config) *Problem {
	var (
		unknown *net.DNSError
		network net.Error
	)
	p := &Problem{Code: config.CodeDatabaseUnreachable}
	switch {
	case errors.As(err, &unknown):
		p.Message = fmt.Sprintf("the database host %s is unknown (%s)", cfg.Host, unknown.Err)
		p.Remedy = "correct the host in DATABASE_URL, or create its DNS record or Service"
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Message = fmt.Sprintf("the connection to the database at %s was refused", address(cfg))
		p.Remedy = "start the server, or correct host and port in DATABASE_URL"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		p.Message = fmt.Sprintf("the database at %s did not answer in time", address(cfg))
		p.Remedy = "check that it runs and that firewalls and network policies let this pod reach it"
	default:
		p.Message = fmt.Sprintf("the connection to the database at %s failed (%s)", address(cfg), lastCause(err))
		p.Remedy = "check the server and the parameters of DATABASE_URL"
	}
	return p
}

func address(cfg pgconn.Config) string {
	return net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
}

// lastCause is the innermost error's text: the outer ones repeat the address.
func lastCause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return strings.ReplaceAll(err.Error(), "\n", " ")
		}
		err = next
	}
}
