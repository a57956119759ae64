//! A network as users describe it: `loopback`, `lan`, `wan`, or `rtt=40ms,bw=100mbit`.
use std::str::FromStr;
use std::time::Duration;

/// Round-trip time and bandwidth between two parties.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Network {
    /// There and back.
    pub rtt: Duration,
    /// In each direction of each pair.
    pub bits_per_second: f64,
}

impl Network {
    /// Processes of one machine: three on two cores take about 75 µs for a round with hardly any data, waking up included
    /// (`qnnvm bench` of a small model: seconds by rounds).
    pub const LOOPBACK: Network = Network { rtt: Duration::from_micros(150), bits_per_second: 20e9 };
    /// One room.
    pub const LAN: Network = Network { rtt: Duration::from_micros(200), bits_per_second: 10e9 };
    /// Two cities.
    pub const WAN: Network = Network { rtt: Duration::from_millis(40), bits_per_second: 100e6 };
}

const FORM: &str = "a network is `loopback`, `lan`, `wan`, or as in `rtt=40ms,bw=100mbit`";

/// A number and its unit.
fn quantity(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let names = || units.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
    let (_, factor) = units
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(unit))
        .ok_or_else(|| format!("`{}` needs a unit out of {}; {FORM}", crate::text::escape(text), names()))?;
    let bad = || format!("`{}` is no number; {FORM}", crate::text::escape(number));
    let value = number.parse::<f64>().map_err(|_| bad())? * factor;
    if value.is_finite() { Ok(value) } else { Err(bad()) }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => return Ok(Network::LOOPBACK),
            "lan" => return Ok(Network::LAN),
            "wan" => return Ok(Network::WAN),
            _ => {}
        }
        let (mut rtt, mut bandwidth) = (None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("rtt", time)) => rtt = Some(quantity(time, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])?),
                Some(("bw", rate)) => {
                    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
                    let rate = rate.strip_suffix("/s").unwrap_or(rate);
                    bandwidth = Some(quantity(rate, &units)?);
                }
                _ => return Err(format!("`{}` is neither `rtt=` nor `bw=`; {FORM}", crate::text::escape(part))),
            }
        }
        match (rtt, bandwidth) {
            (Some(_), Some(bits_per_second)) if bits_per_second <= 0.0 => Err("the bandwidth is 0".to_owned()),
            (Some(rtt), Some(bits_per_second)) if rtt <= 3600.0 => {
                Ok(Network { rtt: Duration::from_secs_f64(rtt), bits_per_second })
            }
            (Some(_), Some(_)) => Err("a round trip takes an hour at most".to_owned()),
            _ => Err(format!("both `rtt=` and `bw=` are needed; {FORM}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        let read = |t: &str| t.parse::<Network>();
        assert_eq!(read("wan"), Ok(Network::WAN));
        assert_eq!(read("rtt=40ms,bw=100Mbit"), Ok(Network::WAN));
        assert_eq!(read("bw=10gbit/s,rtt=200us"), Ok(Network::LAN));
        for bad in
            ["", "lan,", "rtt=40ms", "rtt=40,bw=1gbit", "rtt=-1ms,bw=1gbit", "rtt=1ms,bw=0gbit", "rtt=2e9s,bw=1mbit"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
