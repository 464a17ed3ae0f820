"""The polychromatic inversion: tables, rays through metal, the metal's fit, and what lies behind it."""
