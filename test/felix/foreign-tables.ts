// What other programs write into nftables on a node, as far as packets of pods meet it.

/**
 * What kube-proxy does to a Service that is asked from outside of the pods: the mark, and the masquerade that takes it off.
 * Instead of masquerading a tunnel's outer packet, by which its checksum becomes wrong for a far node that looks, it is dropped.
 */
export const kubeProxy = (service: string, pod: string) => `
table ip kube-proxy {
  chain nat-output {
    type nat hook output priority -100;
    ip daddr ${service} meta mark set meta mark | 0x4000 dnat to ${pod}
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random
  }
  chain outer-packets {
    type filter hook postrouting priority mangle;
    udp dport 4789 meta mark & 0x4000 != 0 drop
  }
}
`

/** What docker writes through iptables-nft, without its matches of xtables. */
export const DOCKER = `
table ip nat {
  chain DOCKER { iifname "docker0" return; }
  chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump DOCKER; }
  chain OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; oifname != "docker0" ip saddr 172.17.0.0/16 masquerade; }
}
table ip filter {
  chain DOCKER { }
  chain DOCKER-USER { return; }
  chain DOCKER-ISOLATION-STAGE-2 { oifname "docker0" drop; return; }
  chain DOCKER-ISOLATION-STAGE-1 { iifname "docker0" oifname != "docker0" jump DOCKER-ISOLATION-STAGE-2; return; }
  chain FORWARD {
    type filter hook forward priority filter; policy accept;
    jump DOCKER-USER
    jump DOCKER-ISOLATION-STAGE-1
    oifname "docker0" ct state related,established accept
    oifname "docker0" jump DOCKER
    iifname "docker0" oifname != "docker0" accept
    iifname "docker0" oifname "docker0" accept
  }
}
`

/** What firewalld writes for the zones of its interfaces. */
export function firewalld(end: string): string {
  return `
table inet firewalld {
  chain filter_PREROUTING { type filter hook prerouting priority filter + 10; policy accept; icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept; }
  chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
  chain filter_FWD_trusted { ${end}; }
  chain filter_FORWARD_ZONES { iifname "eth0" goto filter_FWD_trusted; goto filter_FWD_trusted; }
  chain filter_FORWARD_rest { }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    jump filter_FORWARD_rest
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    ip6 daddr { ::/96, 2002::/24 } reject with icmpv6 addr-unreachable
    jump filter_FORWARD_ZONES
    reject with icmpx admin-prohibited
  }
}
`
}
