package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// obstacles are two faults at once, of different steps: doctor names both before either is repaired.
var obstacles = [][2]string{
	// On the real server: tunnel and firewall, settings, service; firewall and settings, service; settings and service.
	{"tunnel-down", "firewall-input"},
	{"tunnel-endpoint", "no-return-route"},
	{"tunnel-down", "no-listener"},
	{"tunnel-mode", "rp-filter"},
	{"firewall-outer", "vip-missing"},
	{"firewall-policy", "no-return-route"},
	{"rp-filter", "firewall-output"},
	{"rp-filter", "no-listener"},
	// Connection tracking and service.
	{"conntrack-full", "vip-missing"},
	// On the director: firewall, settings and VIP, each with its services and routes.
	{"director-firewall-input", "weight-zero"},
	{"director-rp-filter", "director-no-route"},
	{"director-vip-missing", "weight-zero"},
	// One on each of them.
	{"weight-zero", "tunnel-down"},
	{"no-service", "rp-filter"},
}

// twoObstacles injects two faults, asks doctor, runs what it has printed of both, and checks that packets pass then.
func (o options) twoObstacles(ctx context.Context, r *report, l *lab.Lab, names [2]string) (err error) {
	var both [2]fault.Scenario
	for i, name := range names {
		both[i], _ = fault.Named(name)
		if err := fault.Inject(ctx, l, both[i]); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, fault.Undo(ctx, l, both[i])) }()
	}
	reports := map[lab.Role][]found{}
	for _, s := range both {
		if reports[s.Where()], err = o.examine(ctx, l, s); err != nil {
			return err
		}
	}
	if err := bothNamed(both, reports); err != nil {
		return err
	}
	var commanded []string
	for role, all := range reports {
		codes, err := o.mend(ctx, r, l, role, all)
		if err != nil {
			return err
		}
		commanded = append(commanded, codes...)
	}
	for _, s := range both {
		if _, hand := nobodysCommand(s.Name); hand != !slices.Contains(commanded, s.Code) {
			return fmt.Errorf("that no command ends %s is expected: %v; doctor says\n%s", s.Name, hand, listFound(reports[s.Where()]))
		} else if hand {
			err = errors.Join(err, fault.Undo(ctx, l, s))
		}
	}
	if err := errors.Join(err, passes(ctx, l, both[0], reports[both[0].Where()]), passes(ctx, l, both[1], reports[both[1].Where()])); err != nil {
		return err
	}
	for _, s := range both {
		after, err := o.examine(ctx, l, s)
		if err := errors.Join(err, gone(s, after)); err != nil {
			return err
		}
	}
	return nil
}

// bothNamed checks that each of two faults is named where it is.
func bothNamed(both [2]fault.Scenario, reports map[lab.Role][]found) error {
	for _, s := range both {
		named := slices.ContainsFunc(reports[s.Where()], func(f found) bool { return f.Code == s.Code && (f.Severity == "fault" || f.Severity == "risk") })
		if !named {
			return fmt.Errorf("doctor does not name %s; it says\n%s", s.Code, listFound(reports[s.Where()]))
		}
	}
	return nil
}
